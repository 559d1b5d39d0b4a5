"""The link between device and host memory, as a model: two directions, each first come first
served.

Owns when each move lands. It does not know what a page holds; the simulated executors ask it. A
direction carries one move at a time at the cost model's speed, both directions run at once and
beside the computing.
"""

from __future__ import annotations

from collections import deque

from ..core.cost_model import CostModel
from ..core.ids import MoveId
from ..core.plan import Direction, Move


class Link:
    """Moves under way, per direction, in the order they were given."""

    def __init__(self, cost: CostModel, page_tokens: int, *, free: bool = False, scale: float = 1.0) -> None:
        """`free`: a move lands at the instant it starts (oracle policies). `scale` multiplies every
        duration.
        """
        self._cost = cost
        self._page_tokens = page_tokens
        self._free = free
        self._scale = scale
        self._idle_from_ns = {Direction.OUT: 0, Direction.IN: 0}
        self._under_way: dict[Direction, deque[tuple[int, MoveId]]] = {Direction.OUT: deque(), Direction.IN: deque()}

    def start(self, moves: tuple[Move, ...], now_ns: int) -> None:
        """Queue `moves` behind those of their direction, from `now_ns` on."""
        for move in moves:
            begin = max(self._idle_from_ns[move.direction], now_ns)
            cost_ns = 0 if self._free else self._cost.move_ns(len(move.pages) * self._page_tokens)
            end = begin + round(cost_ns * self._scale)
            self._idle_from_ns[move.direction] = end
            self._under_way[move.direction].append((end, move.move_id))

    def next_landing_ns(self) -> int | None:
        """When the next move lands; None when none is under way."""
        return min((queue[0][0] for queue in self._under_way.values() if queue), default=None)

    def idle_from_ns(self, now_ns: int) -> int:
        """From when on, `now_ns` at the earliest, neither direction has anything to do."""
        return max(now_ns, *self._idle_from_ns.values())

    def landed(self, now_ns: int) -> tuple[MoveId, ...]:
        """Moves that landed by `now_ns` and were not told yet, in order of landing."""
        done: list[tuple[int, MoveId]] = []
        for queue in self._under_way.values():
            while queue and queue[0][0] <= now_ns:
                done.append(queue.popleft())
        if len(done) > 1:
            done.sort()
        return tuple(move_id for _, move_id in done)

    def clear(self) -> None:
        """Forget everything under way: the pools are gone."""
        for queue in self._under_way.values():
            queue.clear()
