"""The port of a product with weights that never change.

Owns `Linear` and how the products of a part are found. Parts know the port alone: how a weight is
laid out, and where it lies, is the business of who makes the product (`weights/assembly.py`).
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from .inside import children


@runtime_checkable
class Linear(Protocol):
    """y = x W^T + b."""

    @property
    def in_features(self) -> int:
        """Numbers in a row of x."""
        ...

    @property
    def out_features(self) -> int:
        """Numbers in a row of y."""
        ...

    @property
    def dtype(self) -> torch.dtype:
        """Of x and y."""
        ...

    def warm_up(self, rows: int) -> None:
        """Make ready for batches of up to `rows` rows, so that no job pays for it."""
        ...

    def __call__(self, x: Tensor) -> Tensor:
        """[n, in] -> [n, out]."""
        ...


def products_in(part: object) -> list[Linear]:
    """Every product of a part, whatever its family calls them; what a product is made of is its own
    business.
    """
    if isinstance(part, Linear):
        return [part]
    return [product for child in children(part) for product in products_in(child)]
