"""What falls due when: one time per job, the earliest at hand.

Owns a heap of times with the jobs of each, and the exact next time as a plain attribute. It does
not know what the times mean; policies keep quantum crossings, starvation deadlines and waits in
such calendars.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush

from ..core.ids import Handle

_SLACK = 64


class Calendar:
    """At most one entry per handle. O(log n) a change, amortised; `next_ns` is read without a call.

    Jobs that came together often fall due together: they share one time in the heap, which is
    touched when the last of them goes.
    """

    __slots__ = ("_due", "_heap", "_jobs_at", "next_ns")

    def __init__(self) -> None:
        self._due: dict[Handle, int] = {}
        self._jobs_at: dict[int, dict[Handle, None]] = {}
        # Every time of `_jobs_at`, and some at which nobody is due any more.
        self._heap: list[int] = []
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
        if jobs is not None:
            jobs[handle] = None
        else:
            self._jobs_at[due_ns] = {handle: None}
            heappush(self._heap, due_ns)
            if self.next_ns is None or due_ns < self.next_ns:
                self.next_ns = due_ns
        if old is not None:
            self._strike(handle, old)

    def discard(self, handle: Handle) -> None:
        """Strike out the entry of `handle`, if there is one."""
        old = self._due.pop(handle, None)
        if old is not None:
            self._strike(handle, old)

    def pop_due(self, now_ns: int) -> list[Handle]:
        """Take out all entries up to and including `now_ns`, earliest first, ties by handle."""
        out: list[Handle] = []
        heap, due = self._heap, self._due
        while heap and heap[0] <= now_ns:
            jobs = self._jobs_at.pop(heappop(heap), None)
            if jobs is not None:
                for handle in sorted(jobs):
                    del due[handle]
                    out.append(handle)
        self._settle()
        return out

    def _strike(self, handle: Handle, when_ns: int) -> None:
        """The job is not due then; where it was the last one, the time is gone."""
        jobs = self._jobs_at[when_ns]
        del jobs[handle]
        if not jobs:
            del self._jobs_at[when_ns]
            if when_ns == self.next_ns:
                self._settle()
            elif len(self._heap) > 2 * len(self._jobs_at) + _SLACK:
                self._heap[:] = self._jobs_at
                heapify(self._heap)

    def _settle(self) -> None:
        """Take times at which nobody is due off the top: `next_ns` is exact again."""
        heap, jobs_at = self._heap, self._jobs_at
        while heap and heap[0] not in jobs_at:
            heappop(heap)
        self.next_ns = heap[0] if heap else None
