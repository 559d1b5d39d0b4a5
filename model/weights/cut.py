"""What is read of a tensor of which a rank has a part.

Owns `Cut`, stretches of one dimension, and how it is made of shares. It reads nothing; the
checkpoint obeys it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..parts.share import Share


@dataclass(frozen=True, slots=True)
class Cut:
    """The stretches [start, end) along a dimension, one behind the other."""

    dimension: int
    stretches: tuple[tuple[int, int], ...]

    def of(self, tensor: Any) -> Tensor:
        """What is left of a tensor, or of one that safetensors has not read yet."""
        before = (slice(None),) * self.dimension
        left: list[Tensor] = [tensor[(*before, slice(start, end))] for start, end in self.stretches]
        return left[0] if len(left) == 1 else torch.cat(left, self.dimension)


def cut_to(shares: Sequence[Share], dimension: int) -> Cut | None:
    """What is left of a tensor in which the wholes of the shares lie one behind the other; None
    where that is all. A share that reaches beyond its whole ends with it.
    """
    if all(share.is_whole for share in shares):
        return None
    stretches, base = [], 0
    for share in shares:
        start, end = (min(at, share.whole) for at in (share.start, share.start + share.size))
        stretches.append((base + start, base + end))
        base += share.whole
    return Cut(dimension, tuple(stretches))
