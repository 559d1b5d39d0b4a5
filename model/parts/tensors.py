"""Where a part that has only tensors of its own gets them."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class Tensors(Protocol):
    """The tensors of a model folder, by the names of the family's row."""

    def tensor(self, name: str, shape: tuple[int, ...], *, wide: bool = False) -> Tensor:
        """On the device, in the precision that is served; `wide`: in no less than float32. Raises
        InvalidModel for a tensor that is missing or of another shape.
        """
        ...
