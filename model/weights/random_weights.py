"""Random numbers for every tensor that a config implies.

Owns how large they are, so that greedy outputs wander and depend on the whole context. Which
tensors there are it learns from `Assembler`, by being read as a checkpoint is; so it knows no
family. presets writes what comes of it, or keeps it in memory.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from ..architectures import Norm
from ..config import ModelConfig
from .assembly import Assembler
from .cut import Cut
from .listening import Listening
from .loaded import DecoderParts

POSITION_GAIN = 0.5
BIAS_GAIN = 0.1


class _Drawing:
    """A checkpoint that draws each tensor when it is read, where and as it shall be."""

    def __init__(self, config: ModelConfig, seed: int, device: torch.device, dtype: torch.dtype) -> None:
        self.names: frozenset[str] = frozenset()
        self._config = config
        self._dtype = dtype
        self._generator = torch.Generator(device).manual_seed(seed)

    def numbers(self, name: str) -> int:
        """Nothing is held."""
        raise KeyError(name)

    def read(self, name: str, shape: tuple[int, ...], cut: Cut | None = None) -> Tensor:
        """New numbers, on the generator's device."""
        whole = _drawn(self._config, name, shape, self._generator, self._dtype)
        return whole if cut is None else cut.of(whole)


def implied_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Hugging Face name -> shape of every tensor, in the order in which `random_tensors` gives
    them.
    """
    listening = Listening()
    Assembler(config, listening, torch.device("meta"), torch.float32).assemble()
    # The head last, wherever it is read.
    names = sorted(listening.shapes, key=lambda name: name == f"{config.architecture.tensors.head}.weight")
    return {name: listening.shapes[name] for name in names}


def random_tensors(config: ModelConfig, seed: int, dtype: torch.dtype) -> Iterator[tuple[str, Tensor]]:
    """Every tensor, by name, on the CPU. The same config and seed give the same numbers, drawn in
    float32 and rounded to `dtype`.

    Products keep their input's scale (1 / sqrt(inputs)); queries, keys and the head are twice as
    large, so that attention and sampling choose. Norms do nothing yet. The config must not tie the
    head to the embedding: that would make a random model repeat its last token.
    """
    generator = torch.Generator().manual_seed(seed)
    for name, shape in implied_shapes(config).items():
        yield name, _drawn(config, name, shape, generator, torch.float32).to(dtype)


def random_weights_on(config: ModelConfig, seed: int, device: torch.device, dtype: torch.dtype) -> DecoderParts:
    """Weights as large as those of `random_tensors`, drawn in `dtype` on the device one after the
    other and laid out there: other numbers.
    """
    return Assembler(config, _Drawing(config, seed, device, dtype), device, dtype).assemble()


def _drawn(
    config: ModelConfig, name: str, shape: tuple[int, ...], generator: torch.Generator, dtype: torch.dtype
) -> Tensor:
    family, part = config.architecture, name.removesuffix(".weight").removesuffix(".bias")
    names, where = family.tensors, generator.device
    # A weight of one dimension is a norm's, whatever the part that reads it calls it.
    if len(shape) == 1 and (
        name.endswith(".weight")
        or any(part == pattern.format(i=i) for pattern in _norms_of(config) for i in range(config.layers))
    ):
        still = 1.0 if name.endswith(".weight") and config.parts.norm != Norm.RMS_OFFSET else 0.0
        return torch.full(shape, still, dtype=dtype, device=where)
    drawn = torch.randn(shape, generator=generator, dtype=dtype, device=where)
    if len(shape) == 1:
        return drawn.mul_(BIAS_GAIN)
    if part == names.embedding:
        return drawn.div_(math.sqrt(config.hidden)) if family.embedding_scaled else drawn
    if part == names.positions:
        return drawn.mul_(POSITION_GAIN)
    loud = (names.query, names.key, names.qkv, names.head)
    gain = 2.0 if any(part == one.format(i=i) for one in loud if one is not None for i in range(config.layers)) else 1.0
    return drawn.mul_(gain / math.sqrt(shape[0] if family.transposed else shape[1]))


def _norms_of(config: ModelConfig) -> list[str]:
    names = config.architecture.tensors
    every = (
        *(names.attention_norm, names.mlp_norm, names.after_attention_norm, names.after_mlp_norm),
        *(names.query_norm, names.key_norm, names.final_norm),
    )
    return [name for name in every if name is not None]
