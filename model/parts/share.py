"""Which part of a dimension a rank has.

Owns `Share`, the rule by which a dimension is divided, and the port by which rows become whole
again. Parts say with it how many heads, columns or tokens are theirs, and the reader cuts tensors by
it.

Worked example: 8 query heads and 2 key heads on 4 ranks. Rank 1 has the query heads 2 and 3, which
look at key head 0: `divided(8, 1, 4)` is [2, 4) of 8, `divided(2, 1, 4)` is [0, 1) of 2, and so is
rank 0's. With 2 ranks each has one key head of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor


@dataclass(frozen=True, slots=True)
class Share:
    """[start, start + size) of `whole`."""

    whole: int
    start: int
    size: int

    @property
    def is_whole(self) -> bool:
        """Whether nothing is left to others."""
        return self.size == self.whole

    def __mul__(self, width: int) -> Share:
        """The same share where each unit is `width` wide."""
        return Share(self.whole * width, self.start * width, self.size * width)


class Joining(Protocol):
    """How the ranks' shares of a row come together, for a part that needs rows whole."""

    def whole(self, own: Tensor) -> Tensor:
        """[n, this rank's] -> [n, all]."""
        ...

    def own(self, whole: Tensor) -> Tensor:
        """[n, all] -> [n, this rank's]."""
        ...


class Alone:
    """One rank has everything."""

    def whole(self, own: Tensor) -> Tensor:
        """As it is."""
        return own

    def own(self, whole: Tensor) -> Tensor:
        """As it is."""
        return whole


def all_of(whole: int) -> Share:
    """The share of a rank that has everything."""
    return Share(whole, 0, whole)


def divided(whole: int, rank: int, ranks: int) -> Share:
    """The equal share of a rank; of fewer units than ranks each is held by several. Raises
    ValueError when neither divides the other.
    """
    if whole % ranks == 0:
        return Share(whole, rank * (whole // ranks), whole // ranks)
    if ranks % whole == 0:
        return Share(whole, rank * whole // ranks, 1)
    raise ValueError(f"{whole} cannot be divided among {ranks}")


def padded(whole: int, rank: int, ranks: int) -> Share:
    """An equal share of `whole` rounded up: the last ranks' may reach beyond its end, or begin
    there.
    """
    size = -(-whole // ranks)
    return Share(whole, rank * size, size)
