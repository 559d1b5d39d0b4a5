"""What the ranks of a sharded model do together.

Owns the port `Collectives`: sums and gatherings of tensors over all ranks. It knows no transport;
executor/ranks has the one on torch.distributed. Parts of a decoder that are split over ranks call
it, every rank in the same order.
"""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class Collectives(Protocol):
    """All ranks call the same method with tensors of one shape, dtype and kind of device."""

    @property
    def rank(self) -> int:
        """This rank, from 0."""
        ...

    @property
    def ranks(self) -> int:
        """How many there are."""
        ...

    def sum_(self, partial: Tensor) -> Tensor:
        """Replace a partial sum by the sum over all ranks; the same tensor. Raises RuntimeError
        when a rank is gone.
        """
        ...

    def gather(self, own: Tensor) -> Tensor:
        """[n, k] of each rank -> [n, ranks * k], rank by rank. Raises RuntimeError when a rank is
        gone.
        """
        ...
