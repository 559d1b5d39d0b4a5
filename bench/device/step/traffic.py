"""KV on its way between device and host beside decode steps, as much as there is room for.

Owns the pages and host slots that go back and forth, which are no job's KV, and when moves landed.
"""

from __future__ import annotations

from collections.abc import Collection
from itertools import count

from ....core.clock import Clock
from ....core.ids import Handle, MoveId
from ....core.outcome import IterationOutcome
from ....core.plan import Direction, Int32s, Move

NO_JOB = Handle(-2)
_MOVE_IDS = count(1)

PagesAndSlots = tuple[Int32s, Int32s]


class Traffic:
    """`places[direction]`: the pages and host slots of one move each, taken from its start until it
    has landed.

    `dry`: how often, behind the first time, everything had landed before more was asked for, so
    that nothing was on its way for a while.
    """

    def __init__(
        self, places: dict[Direction, list[PagesAndSlots]], directions: Collection[Direction], clock: Clock
    ) -> None:
        self._free = {direction: list(places[direction]) for direction in directions}
        self._taken: dict[MoveId, tuple[Direction, PagesAndSlots]] = {}
        self._clock = clock
        self.landed_pages = dict.fromkeys(directions, 0)
        self.last_landed_ns = dict.fromkeys(directions, 0)
        self.dry = dict.fromkeys(directions, 0)
        self._asked = False

    @property
    def in_flight(self) -> int:
        """Moves that were started and have not landed."""
        return len(self._taken)

    def moves(self) -> tuple[Move, ...]:
        """One for every place that is free, the directions in turn."""
        if self._asked:
            for direction in self._free:
                self.dry[direction] += all(taken is not direction for taken, _ in self._taken.values())
        self._asked = True
        begun = []
        while any(self._free.values()):
            for direction, free in self._free.items():
                if free:
                    pages, slots = place = free.pop()
                    move = Move(MoveId(next(_MOVE_IDS)), direction, NO_JOB, pages, slots)
                    self._taken[move.move_id] = direction, place
                    begun.append(move)
        return tuple(begun)

    def heard(self, outcome: IterationOutcome) -> None:
        """What landed makes room."""
        now_ns = self._clock.now_ns()
        for move_id in outcome.landed:
            if move_id not in self._taken:
                continue  # of a case that was broken off
            direction, place = self._taken.pop(move_id)
            self._free[direction].append(place)
            self.landed_pages[direction] += len(place[0])
            self.last_landed_ns[direction] = now_ns
