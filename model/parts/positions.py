"""How queries and keys are told where they stand.

Owns the choice for a decoder: heads that are turned by rotary embeddings, or that stay as they are
because positions are learned (`embedding.LearnedPositions`). The decoder asks once a pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from .rope import Rope
from .rotary_table import RotaryTable


class Turning(Protocol):
    """Cosine and sine for each rotary embedding of a model."""

    def at(self, positions: Tensor, end: int) -> list[tuple[Tensor, Tensor]]:
        """[n, 1, turned / 2] each, for int64[n] positions, all below `end`."""
        ...


class Rotary:
    """Heads are turned."""

    def __init__(self, tables: Sequence[RotaryTable]) -> None:
        self._tables = tuple(tables)

    def at(self, positions: Tensor, end: int) -> list[tuple[Tensor, Tensor]]:
        """As the port says."""
        return [table.at(positions, end) for table in self._tables]


class Unturned:
    """Heads stay as they are: cosine and sine are empty, and nothing turns by them."""

    def __init__(self, dtype: torch.dtype) -> None:
        self._dtype = dtype

    def at(self, positions: Tensor, end: int) -> list[tuple[Tensor, Tensor]]:
        """As the port says."""
        nothing = torch.empty(len(positions), 1, 0, dtype=self._dtype, device=positions.device)
        return [(nothing, nothing)]


def turning_of(ropes: Sequence[Rope], device: torch.device, dtype: torch.dtype, *, recorded: bool) -> Turning:
    """What a model with those rotary embeddings does; `recorded` as in `RotaryTable`."""
    if not ropes:
        return Unturned(dtype)
    return Rotary([RotaryTable(rope, device, dtype, recorded=recorded) for rope in ropes])
