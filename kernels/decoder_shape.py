"""What of a model its kernels depend on.

Owns `DecoderShape`: dtypes, sizes and kinds, no weights. It does not know what is compiled for it.
The executor fills it from a loaded model, `compiled/variants.py` lists the kernel forms of one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from .ragged_attention import AttentionShape


@dataclass(frozen=True, slots=True)
class DecoderShape:
    """What of a decoder its kernels depend on.

    `attentions`: the distinct kinds of its layers; `turned`: elements of a head that the rotary
    embedding turns, 0 without one; `gate` None where the MLP has none; `biased` says whether a
    LayerNorm has a bias; `head_norm`: queries and keys are normalised head by head; `norm_dtype`:
    that of the norms' weights, None where it is the model's.
    """

    dtype: torch.dtype
    kv_heads: int
    head_dim: int
    hidden: int
    intermediate: int
    page_tokens: int
    attentions: tuple[AttentionShape, ...]
    turned: int
    vocab: int
    norm: Literal["rms", "layer"] = "rms"
    biased: bool = True
    gate: Literal["silu", "gelu"] | None = "silu"
    head_norm: bool = False
    norm_dtype: torch.dtype | None = None
    table_dtype: torch.dtype = torch.int32

    def __post_init__(self) -> None:
        assert self.attentions and all(one.heads == self.attentions[0].heads for one in self.attentions)
