"""Random numbers for every tensor that a config implies.

Owns how large they are, so that greedy outputs wander and depend on the whole context. Which tensors there are it learns from `Assembler`, by being
read as a checkpoint is; so it knows no family. presets writes what comes of it.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .architectures import Norm
from .assembly import Assembler
from .config import ModelConfig

POSITION_GAIN = 0.5
BIAS_GAIN = 0.1


class _Listening:
    """A checkpoint that holds everything: it remembers what is asked for, and answers zeros."""

    def __init__(self) -> None:
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.names: frozenset[str] = frozenset()

    def numbers(self, name: str) -> int:
        """Of a tensor that was read."""
        return math.prod(self.shapes[name])

    def read(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """Zeros of that shape."""
        self.shapes[name] = shape
        return torch.zeros(shape)


def random_weights(config: ModelConfig, seed: int) -> dict[str, Tensor]:
    """Tensors by Hugging Face name, float32. The same config and seed give the same numbers.

    Products keep their input's scale (1 / sqrt(inputs)); queries, keys and the head are twice as large, so that attention and sampling choose.
    Norms do nothing yet. The config must not tie the head to the embedding: that would make a random model repeat its last token.
    """
    listening = _Listening()
    Assembler(config, listening, torch.device("cpu"), torch.float32).assemble()
    generator = torch.Generator().manual_seed(seed)
    # The head last, wherever it is read.
    names = sorted(listening.shapes, key=lambda name: name == f"{config.architecture.tensors.head}.weight")
    return {name: _drawn(config, name, listening.shapes[name], generator) for name in names}


def _drawn(config: ModelConfig, name: str, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    family, part = config.architecture, name.removesuffix(".weight").removesuffix(".bias")
    names = family.tensors
    if len(shape) == 1:
        if any(part == pattern.format(i=i) for pattern in _norms_of(config) for i in range(config.layers)):
            return (
                torch.ones(shape)
                if name.endswith(".weight") and family.norm is not Norm.RMS_OFFSET
                else torch.zeros(shape)
            )
        return torch.randn(shape, generator=generator) * BIAS_GAIN
    drawn = torch.randn(shape, generator=generator)
    if part == names.embedding:
        return drawn / math.sqrt(config.hidden) if family.embedding_scaled else drawn
    if part == names.positions:
        return drawn * POSITION_GAIN
    loud = (names.query, names.key, names.qkv, names.head)
    gain = 2.0 if any(part == one.format(i=i) for one in loud if one is not None for i in range(config.layers)) else 1.0
    return drawn * (gain / math.sqrt(shape[0] if family.transposed else shape[1]))


def _norms_of(config: ModelConfig) -> list[str]:
    names = config.architecture.tensors
    every = (
        *(names.attention_norm, names.mlp_norm, names.after_attention_norm, names.after_mlp_norm),
        *(names.query_norm, names.key_norm, names.final_norm),
    )
    return [name for name in every if name is not None]
