"""What falls due when: one time per job, the earliest at hand.

Owns a heap of times with the jobs of each, lazy deletion, and the exact next time as a plain attribute. It does not know what the times mean;
policies keep quantum crossings, starvation deadlines and waits in such calendars.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush

from ..core.ids import Handle

_SLACK = 64


class Calendar:
    """At most one entry per handle. O(log n) a change, amortised; `next_ns` is read without a call.

    Jobs that came together often fall due together: they share one time in the heap.
    """

    __slots__ = ("_due", "_entries", "_heap", "_jobs_at", "next_ns")

    def __init__(self) -> None:
        self._due: dict[Handle, int] = {}
        self._heap: list[int] = []
        # The jobs of every time in the heap; entries that `_due` contradicts are void.
        self._jobs_at: dict[int, list[Handle]] = {}
        self._entries = 0
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
        jobs = self._jobs_at.get(due_ns)
        if jobs is None:
            self._jobs_at[due_ns] = [handle]
            heappush(self._heap, due_ns)
        else:
            jobs.append(handle)
        self._entries += 1
        if self._entries > 2 * len(self._due) + _SLACK:
            self._tidy()
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
        while heap and heap[0] <= now_ns:
            when_ns = heappop(heap)
            jobs = self._jobs_at.pop(when_ns)
            self._entries -= len(jobs)
            for handle in sorted(jobs):
                if due.get(handle) == when_ns:
                    del due[handle]
                    out.append(handle)
        self._settle()
        return out

    def _tidy(self) -> None:
        """Forget the void entries."""
        jobs_at: dict[int, list[Handle]] = {}
        for handle, when_ns in self._due.items():
            jobs_at.setdefault(when_ns, []).append(handle)
        self._jobs_at = jobs_at
        self._heap[:] = jobs_at
        heapify(self._heap)
        self._entries = len(self._due)

    def _settle(self) -> None:
        """Take void entries off the top until a valid one is found: `next_ns` is exact again."""
        heap, due = self._heap, self._due
        while heap:
            when_ns = heap[0]
            jobs = self._jobs_at[when_ns]
            while jobs and due.get(jobs[-1]) != when_ns:
                jobs.pop()
                self._entries -= 1
            if jobs:
                self.next_ns = when_ns
                return
            del self._jobs_at[heappop(heap)]
        self.next_ns = None
