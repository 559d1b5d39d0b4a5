"""A model whose parts are read and laid out for the device they run on.

Owns `DecoderParts` and `LoadedModel`, and the names of devices and precisions. It does not read
files (assembly.py does) and does not compute anything; the decoder does.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ...core.errors import InvalidInput
from ..config import ModelConfig
from ..parts.embedding import Embedding
from ..parts.head import Head
from ..parts.layer import Layer
from ..parts.norm import Norm
from ..parts.ring import Ring

DTYPES = {"float64": torch.float64, "float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True, slots=True)
class Ends:
    """What stands in front of all layers and behind them."""

    embedding: Embedding
    last_norm: Norm
    head: Head


@dataclass(frozen=True, slots=True)
class DecoderParts:
    """What a decoder is made of, from token ids to logits. A later stage of a pipeline has layers
    alone, no `ends`.
    """

    ends: Ends | None
    layers: tuple[Layer, ...]

    @property
    def embedding(self) -> Embedding:
        """Of a model that has ends."""
        return self._ends.embedding

    @property
    def last_norm(self) -> Norm:
        """Of a model that has ends."""
        return self._ends.last_norm

    @property
    def head(self) -> Head:
        """Of a model that has ends."""
        return self._ends.head

    @property
    def _ends(self) -> Ends:
        assert self.ends is not None, "a later stage neither embeds nor samples"
        return self.ends


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model that is ready to run: what `loading.load_model` gives and `TorchExecutor` takes.
    `ring`: of the stages of which this is one; None for a whole model.
    """

    config: ModelConfig
    parts: DecoderParts
    device: torch.device
    dtype: torch.dtype
    ring: Ring | None = None


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
