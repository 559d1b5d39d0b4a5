"""What falls due when: one time per job, the earliest at hand.

Owns a heap with lazy deletion and the exact next time as a plain attribute. It does not know what the times mean; policies keep
quantum crossings, starvation deadlines and waits in such calendars.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush

from ..core.ids import Handle

_SLACK = 64


class Calendar:
    """At most one entry per handle. O(log n) a change, amortised; `next_ns` is read without a call."""

    __slots__ = ("_due", "_heap", "next_ns")

    def __init__(self) -> None:
        self._due: dict[Handle, int] = {}
        self._heap: list[tuple[int, Handle]] = []
        self.next_ns: int | None = None
        """The earliest time in the calendar; None when it is empty."""

    def __len__(self) -> int:
        return len(self._due)

    def __contains__(self, handle: Handle) -> bool:
        return handle in self._due

    def get(self, handle: Handle) -> int | None:
        """The time of `handle`, None when it has no entry."""
        return self._due.get(handle)

    def set(self, handle: Handle, due_ns: int) -> None:
        """Enter `handle` at `due_ns`, in place of an older entry."""
        old = self._due.get(handle)
        if old == due_ns:
            return
        self._due[handle] = due_ns
        heap = self._heap
        if len(heap) > 2 * len(self._due) + _SLACK:
            heap[:] = [(when, who) for who, when in self._due.items()]
            heapify(heap)
        else:
            heappush(heap, (due_ns, handle))
        if self.next_ns is None or due_ns < self.next_ns:
            self.next_ns = due_ns
        elif old == self.next_ns:
            self._settle()

    def discard(self, handle: Handle) -> None:
        """Strike out the entry of `handle`, if there is one."""
        old = self._due.pop(handle, None)
        if old is not None and old == self.next_ns:
            self._settle()

    def pop_due(self, now_ns: int) -> list[Handle]:
        """Take out all entries up to and including `now_ns`, earliest first, ties by handle."""
        out: list[Handle] = []
        heap, due = self._heap, self._due
        while heap and heap[0][0] <= now_ns:
            when_ns, handle = heappop(heap)
            if due.get(handle) == when_ns:
                del due[handle]
                out.append(handle)
        self._settle()
        return out

    def _settle(self) -> None:
        heap, due = self._heap, self._due
        while heap and due.get(heap[0][1]) != heap[0][0]:
            heappop(heap)
        self.next_ns = heap[0][0] if heap else None
