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
class NormForm:
    """A norm of rows of `width` numbers; `biased`: it adds a bias."""

    kind: Literal["rms", "layer"]
    width: int
    biased: bool
    weight_dtype: torch.dtype


@dataclass(frozen=True, slots=True)
class DecoderShape:
    """What of a decoder its kernels depend on.

    `attentions`: the distinct kinds of its layers; `turned`: elements of a head that the rotary
    embedding turns, 0 without one; `norms`: the distinct ones; `gate` None where the MLP has none.
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
    norms: tuple[NormForm, ...] = ()
    gate: Literal["silu", "gelu"] | None = "silu"
    table_dtype: torch.dtype = torch.int32

    def __post_init__(self) -> None:
        assert self.attentions and all(one.heads == self.attentions[0].heads for one in self.attentions)
