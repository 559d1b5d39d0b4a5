"""From the stream behind the last layer to logits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, Self

from torch import Tensor

from .linear import Linear
from .reader import Reader
from .share import all_of


class Shaping(Protocol):
    """What happens to logits before anything is sampled from them."""

    def of(self, logits: Tensor) -> Tensor:
        """They may be written over."""
        ...


@dataclass(frozen=True, slots=True)
class SoftCap:
    """cap * tanh(logits / cap)."""

    cap: float

    def of(self, logits: Tensor) -> Tensor:
        """As the port says."""
        return logits.div_(self.cap).tanh_().mul_(self.cap)


@dataclass(frozen=True, slots=True)
class Head:
    """A product with the vocabulary; in front of it one to the embedding's width where that is
    another.
    """

    narrowing: tuple[Linear, ...]
    product: Linear
    shapings: tuple[Shaping, ...]

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """The table, and what config and row say of it."""
        config, names = reader.config, reader.config.architecture.tensors
        narrowing: tuple[Linear, ...] = ()
        if names.embedding_out is not None and config.embedding_width != config.hidden:
            narrowing = (
                reader.linear((names.embedding_out,), (all_of(config.embedding_width),), all_of(config.hidden)),
            )
        shapings = () if config.logit_softcap is None else (SoftCap(config.logit_softcap),)
        return cls(narrowing, reader.head(), shapings)

    def of(self, x: Tensor) -> Tensor:
        """[n, hidden] -> [n, vocab]."""
        for product in self.narrowing:
            x = product(x)
        logits = self.product(x)
        for one in self.shapings:
            logits = one.of(logits)
        return logits
