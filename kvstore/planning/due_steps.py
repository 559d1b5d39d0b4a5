"""What is due at which step.

Owns buckets keyed by the number of a decode iteration, so that a turn touches only those whose turn
it is. It does not know what is due; the running batch keeps page growth in one, the engine keeps
output limits in another.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, TypeVar

T = TypeVar("T")


class StepCalendar(Generic[T]):
    """Buckets by step. Entries are never withdrawn: whoever takes a bucket checks that they still
    stand.
    """

    __slots__ = ("_buckets",)

    def __init__(self) -> None:
        self._buckets: dict[int, list[T]] = {}

    def add(self, step: int, entry: T) -> None:
        """`entry` is due at `step`."""
        bucket = self._buckets.get(step)
        if bucket is None:
            self._buckets[step] = [entry]
        else:
            bucket.append(entry)

    def add_all(self, step: int, entries: Sequence[T]) -> None:
        """`entries` are due at `step`, in this order."""
        self._buckets.setdefault(step, []).extend(entries)

    def peek(self, step: int) -> list[T] | None:
        """The bucket of `step`, None when nothing is due."""
        return self._buckets.get(step)

    def take(self, step: int) -> list[T]:
        """The bucket of `step`, which is gone then."""
        return self._buckets.pop(step, [])
