"""From token ids to the stream."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, Self

import torch
from torch import Tensor
from torch.nn.functional import embedding

from .linear import Linear
from .reader import Reader
from .share import all_of
from .table import Table


class Refinement(Protocol):
    """What happens to an embedding on its way to the first layer."""

    def of(self, x: Tensor, positions: Tensor) -> Tensor:
        """x[n, width] of tokens at int64[n] positions; it may be written over."""
        ...


@dataclass(frozen=True, slots=True)
class Scaled:
    """x * scale."""

    scale: float

    def of(self, x: Tensor, positions: Tensor) -> Tensor:
        """As the port says."""
        return x.mul_(self.scale)


@dataclass(frozen=True, slots=True)
class Widened:
    """A product from a narrower embedding to the decoder's width."""

    product: Linear

    def of(self, x: Tensor, positions: Tensor) -> Tensor:
        """As the port says."""
        return self.product(x)


@dataclass(frozen=True, slots=True)
class LearnedPositions:
    """A row of `table` is added for each position."""

    table: Tensor

    def of(self, x: Tensor, positions: Tensor) -> Tensor:
        """As the port says."""
        return x + embedding(positions, self.table)


@dataclass(frozen=True, slots=True)
class Embedding:
    """A row of `table` for each token, and what makes the stream of it."""

    table: Table
    refinements: tuple[Refinement, ...]

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """The table, and what config and row say of it."""
        config, row = reader.config, reader.config.architecture
        table = reader.embedding()
        positions: list[Refinement] = []
        if row.tensors.positions is not None:
            shape = (config.max_context_tokens + row.position_offset, config.hidden)
            learned = reader.tensor(f"{row.tensors.positions}.weight", shape)
            positions.append(LearnedPositions(learned[row.position_offset :]))
        before: list[Refinement] = []
        if row.embedding_scaled:
            # sqrt(hidden), rounded as a tensor of the model's would be: so the models were trained.
            before.append(Scaled(float(torch.tensor(config.hidden**0.5, dtype=torch.float32).to(reader.dtype))))
        if row.tensors.embedding_in is not None and config.embedding_width != config.hidden:
            product = reader.linear(
                (row.tensors.embedding_in,), (all_of(config.hidden),), all_of(config.embedding_width)
            )
            before.append(Widened(product))
        return cls(table, (*before, *positions))

    def of(self, tokens: Tensor, positions: Tensor) -> Tensor:
        """[n, hidden] for int64[n] tokens at int64[n] positions."""
        x = self.table.of(tokens)
        for one in self.refinements:
            x = one.of(x, positions)
        return x
