"""How many jobs of each level run, and who waits longest.

Owns the numbers behind the queue metrics. It knows neither places nor quanta; the policies keep it
beside their queues.
"""

from __future__ import annotations

from collections import OrderedDict

from ..core.ids import Handle


class _LevelCount:
    """One level. Waits begin in time order, so the first of `waits` is the longest; `moved` are
    waits that began on another level.
    """

    __slots__ = ("latest_ns", "moved", "running", "waits")

    def __init__(self) -> None:
        self.running = 0
        self.waits: OrderedDict[Handle, int] = OrderedDict()
        self.moved: dict[Handle, int] = {}
        self.latest_ns = 0


class Census:
    """Running jobs and waits by level; a level appears when it is first used. O(1) a change."""

    def __init__(self) -> None:
        self._levels: list[_LevelCount] = []

    def waits(self, handle: Handle, level: int, since_ns: int) -> None:
        """A job of `level`, not waiting there so far, waits since `since_ns`."""
        count = self._at(level)
        if since_ns >= count.latest_ns:
            count.latest_ns = since_ns
            count.waits[handle] = since_ns
        else:
            count.moved[handle] = since_ns

    def waits_no_more(self, handle: Handle, level: int) -> None:
        """It does not, or not on this level."""
        count = self._at(level)
        if count.waits.pop(handle, None) is None:
            count.moved.pop(handle, None)

    def starts(self, handle: Handle, level: int) -> None:
        """A job that waited on `level` runs."""
        count = self._levels[level - 1]
        count.running += 1
        if count.waits.pop(handle, None) is None:
            count.moved.pop(handle, None)

    def stops(self, level: int) -> None:
        """A job of `level` runs no more."""
        self._levels[level - 1].running -= 1

    def runs_on(self, old: int, new: int) -> None:
        """A running job changed its level."""
        self._at(new).running += 1
        self._levels[old - 1].running -= 1

    def running(self, level: int) -> int:
        """Running jobs of `level`."""
        return self._at(level).running

    def longest_wait_ns(self, level: int, now_ns: int) -> int:
        """The longest current wait on `level`; 0 when nobody waits. O(1) but for waits that began
        elsewhere.
        """
        count = self._at(level)
        first_ns = next(iter(count.waits.values()), now_ns)
        return now_ns - min(first_ns, min(count.moved.values(), default=now_ns))

    def levels_waiting(self, handle: Handle) -> list[int]:
        """The levels on which a job counts as waiting."""
        return [
            level for level, count in enumerate(self._levels, start=1) if handle in count.waits or handle in count.moved
        ]

    def _at(self, level: int) -> _LevelCount:
        levels = self._levels
        while len(levels) < level:
            levels.append(_LevelCount())
        return levels[level - 1]
