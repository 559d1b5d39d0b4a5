"""Descriptors kept for what must not fail when clients have taken all others.

Owns a few open descriptors, given up for as long as something is opened in their place. It does not
know for what: the door lends them to the start of an engine.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

LENDABLE = 12


class Reserve:
    """Holds `count` descriptors; fewer where no more can be had."""

    def __init__(self, count: int = LENDABLE) -> None:
        self._count = count
        self._held: list[int] = []
        self.fill()

    def fill(self) -> None:
        """Take back what was lent, as far as it can be had."""
        with contextlib.suppress(OSError):
            while len(self._held) < self._count:
                self._held.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))

    @contextlib.contextmanager
    def lent(self) -> Iterator[None]:
        """Free descriptors for the code within; do not await there, or the event loop gives them to
        a client.
        """
        self.close()
        try:
            yield
        finally:
            self.fill()

    def close(self) -> None:
        """Give all of them up."""
        while self._held:
            os.close(self._held.pop())
