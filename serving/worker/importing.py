"""Whether imports go on.

Owns a finder that finds nothing and is asked before every import. It does not know what is
imported; engine and spare tell the door by it that a long import is no hang.
"""

from __future__ import annotations

import importlib.machinery
import sys
from collections.abc import Callable, Sequence
from types import ModuleType, TracebackType


class Importing:
    """In a `with`: `goes_on` is called before each module that is imported."""

    def __init__(self, goes_on: Callable[[], None]) -> None:
        self._goes_on = goes_on

    def __enter__(self) -> None:
        sys.meta_path.insert(0, self)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        sys.meta_path.remove(self)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """A module is about to be imported; somebody else finds it."""
        self._goes_on()
        return None
