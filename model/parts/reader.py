"""What a part asks for while it is read.

Owns `Reader`. A part has a class method `read` that takes one, and the index of its layer where it
stands in a layer; `weights/assembly.py` is the reader of a model folder.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from ..architectures import Part
from ..config import ModelConfig
from .linear import Linear
from .norm import Norm
from .tensors import Tensors


class Reader(Tensors, Protocol):
    """Hands out tensors by the names of the family's row, in which `{i}` is the layer. Every method
    raises InvalidModel for a tensor that is missing or of another shape.
    """

    @property
    def config(self) -> ModelConfig:
        """Of the model that is read."""
        ...

    @property
    def dtype(self) -> torch.dtype:
        """The precision that is served."""
        ...

    def part(self, part: Part) -> Any:
        """The class that a row names. Raises InvalidModel where there is none."""
        ...

    def norm(self, name: str | None, i: int = 0, *, width: int | None = None) -> Norm:
        """A norm of the family's kind, as wide as the decoder unless `width` says otherwise; None:
        the one that does nothing.
        """
        ...

    def linear(
        self, names: Sequence[str], outputs: Sequence[int], inputs: int, i: int = 0, *, bias: bool = False
    ) -> Linear:
        """One product that gives all `outputs` side by side, out of a tensor for each of them or a
        single one for all.
        """
        ...

    def embedding(self) -> Tensor:
        """[vocab, width]."""
        ...

    def head(self) -> Linear:
        """width -> vocab. Its weight may be the embedding."""
        ...
