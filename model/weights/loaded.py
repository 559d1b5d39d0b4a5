"""A model's tensors, fused and laid out for the device they run on.

Owns `ModelWeights` and `LoadedModel`, and the names of devices and precisions. It does not read
files (assembly.py fills it in) and does not compute anything; the decoder does.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ...core.errors import InvalidInput
from ...kernels.linear import Linear
from ..config import ModelConfig

DTYPES = {"float64": torch.float64, "float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True, slots=True)
class NormWeights:
    """`weight` is what is multiplied with, an offset of the family added; float32 where it must not
    be rounded first. `bias`: layer norms' only.
    """

    weight: Tensor
    bias: Tensor | None = None


@dataclass(frozen=True, slots=True)
class LayerWeights:
    """One layer. `qkv` gives [q heads | k heads | v heads] * head_dim, `gate_up` gives [gate | up],
    or what is activated where there is no gate.

    `query_norm` and `key_norm` [head_dim] are of each head; `after_attention_norm` and
    `after_mlp_norm` are of what the halves give before it is added. None: the family has no such
    norm.
    """

    attention_norm: NormWeights
    qkv: Linear
    query_norm: Tensor | None
    key_norm: Tensor | None
    attention_out: Linear
    after_attention_norm: NormWeights | None
    mlp_norm: NormWeights
    gate_up: Linear
    down: Linear
    after_mlp_norm: NormWeights | None


@dataclass(frozen=True, slots=True)
class ModelWeights:
    """embedding[vocab, width], learned positions[max_context_tokens, hidden], the layers, the last
    norm and the head (width -> vocab).

    `embedding_in` (width -> hidden) and `embedding_out` (hidden -> width) stand where the embedding
    is narrower than the decoder.
    """

    embedding: Tensor
    positions: Tensor | None
    embedding_in: Linear | None
    layers: tuple[LayerWeights, ...]
    final_norm: NormWeights | None
    embedding_out: Linear | None
    head: Linear


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model that is ready to run: what `loading.load_model` gives and `TorchExecutor` takes."""

    config: ModelConfig
    weights: ModelWeights
    device: torch.device
    dtype: torch.dtype


def parse_dtype(name: str) -> torch.dtype:
    """Raises InvalidInput naming the known precisions."""
    if name not in DTYPES:
        raise InvalidInput(f"The precision {name[:40]!r} is not known.", field="dtype", limit=", ".join(DTYPES))
    return DTYPES[name]


def parse_device(name: str) -> torch.device:
    """Raises InvalidInput for a device that this machine does not have."""
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InvalidInput(
            f"The device {name[:40]!r} is not known.", field="device", limit="cpu, cuda or cuda:N"
        ) from error
    if device.type not in ("cpu", "cuda"):
        raise InvalidInput(f"The device {name[:40]!r} is not supported.", field="device", limit="cpu, cuda or cuda:N")
    if device.type == "cuda":
        if not torch.cuda.is_available():
            raise InvalidInput("This machine has no usable CUDA device.", field="device", limit="cpu")
        device = torch.device("cuda", device.index if device.index is not None else torch.cuda.current_device())
        if device.index >= torch.cuda.device_count():
            raise InvalidInput(
                f"There is no CUDA device {device.index}.",
                field="device",
                limit=f"cuda:0..{torch.cuda.device_count() - 1}",
            )
    return device
