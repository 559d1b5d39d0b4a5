"""The port of a table with a row for each token."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class Table(Protocol):
    """[vocab, width], wherever its rows lie."""

    def of(self, tokens: Tensor) -> Tensor:
        """[n, width] for int64[n] tokens; the caller may write over it."""
        ...
