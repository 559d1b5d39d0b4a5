"""What is due on the wall clock: deadlines of jobs.

Owns one heap. It does not know why something is due; engine/state ends the jobs and bounds the
inbox wait by the next one.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush

from ..core.ids import Handle


class DueHeap:
    """Entries of ended jobs stay until they come up; `alive` tells them apart. Handles are never
    reused.
    """

    def __init__(self, alive: Callable[[Handle], bool]) -> None:
        self._alive = alive
        self._heap: list[tuple[int, Handle]] = []

    def add(self, due_ns: int, handle: Handle) -> None:
        """The job is due at `due_ns`."""
        heappush(self._heap, (due_ns, handle))

    def next_ns(self) -> int | None:
        """When the first entry of an open job is due; None when there is none."""
        heap = self._heap
        while heap and not self._alive(heap[0][1]):
            heappop(heap)
        return heap[0][0] if heap else None

    def pop(self, now_ns: int) -> list[Handle]:
        """Open jobs due by `now_ns`, soonest first."""
        out: list[Handle] = []
        heap = self._heap
        while heap and heap[0][0] <= now_ns:
            _, handle = heappop(heap)
            if self._alive(handle):
                out.append(handle)
        return out
