"""What a part asks for while it is read.

Owns `Reader`. A part has a class method `read` that takes one, and the index of its layer where it
stands in a layer; `weights/assembly.py` is the reader of a model folder.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch

from ..architectures import Part
from ..config import ModelConfig
from .linear import Linear
from .norm import Norm
from .share import Joining, Share
from .table import Table
from .tensors import Tensors


class Reader(Tensors, Protocol):
    """Hands out tensors by the names of the family's row, in which `{i}` is the layer. Every method
    raises InvalidModel for a tensor that is missing or of another shape.
    """

    @property
    def config(self) -> ModelConfig:
        """Of the whole model that is read."""
        ...

    def share(self, whole: int) -> Share:
        """This rank's share of so many heads or columns; on one rank all."""
        ...

    def joining(self, share: Share) -> Joining:
        """How the shares of all ranks come together to whole rows."""
        ...

    def place(self, i: int) -> int:
        """Layer i's place among the layers that are read here, by which the KV pool knows it."""
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
        self, names: Sequence[str], outputs: Sequence[Share], inputs: Share, i: int = 0, *, bias: bool = False
    ) -> Linear:
        """One product that gives this rank's share of all `outputs` side by side, out of a tensor
        for each of them or a single one for all. Of a share of the `inputs` it gives the sum over
        all ranks.
        """
        ...

    def embedding(self) -> Table:
        """A row of `embedding_width` for each token."""
        ...

    def head(self) -> Linear:
        """width -> vocab. Its weight may be the embedding."""
        ...
