"""What the parts of a model ask for, without a file.

Owns `Listening`, which stands in a checkpoint's place. The reader asks it which tensors belong to a
stage, random_weights which ones to draw.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .cut import Cut


class Listening:
    """A checkpoint that holds everything: it remembers what is asked for, and answers tensors
    without numbers.
    """

    def __init__(self) -> None:
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.names: frozenset[str] = frozenset()

    def numbers(self, name: str) -> int:
        """Of a tensor that was read."""
        return math.prod(self.shapes[name])

    def read(self, name: str, shape: tuple[int, ...], cut: Cut | None = None) -> Tensor:
        """As large as said."""
        self.shapes[name] = shape
        whole = torch.empty(shape, device="meta")
        return whole if cut is None else cut.of(whole)
