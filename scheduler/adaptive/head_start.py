"""How much work waits, and the head start that a small job may have because of it.

Owns the outstanding work, its decaying peak, the scale of head starts and the dial that sets it. It
knows amounts of work and levels as numbers, no jobs; `adaptive` keeps one.
"""

from __future__ import annotations

import math

from ...core.errors import InvalidSettings

DEFAULT_TAIL = 0.65
LARGEST_SCALE = 1000.0
PEAK_DECAY = 5
"""A peak sinks by a fifth of the time that passes: the time constant is five times the peak itself."""
RUNNER_FACTOR = 2.0
"""A running job yields to a rival whose index is so many times smaller, or who came as much
earlier.
"""
STEPS_PER_OCTAVE = 4
RUNNER_SHARE = 4
"""The runner's bonus is that of a scale of at least the peak over this, however small the dial
makes the head starts.
"""


def scale_of(tail: float) -> float:
    """W in units of the outstanding work: 0.06 at `tail` 1, 0.22 at 0.65, without bound towards 0.
    Raises InvalidSettings.
    """
    number = isinstance(tail, (int, float)) and not isinstance(tail, bool)
    if not number or not 0.0 <= tail <= 1.0:
        raise InvalidSettings(f"tail is {tail!r}.", field="tail", limit="0 (lowest mean) to 1 (safest tail)")
    return LARGEST_SCALE if tail == 0.0 else min(0.06 / (tail * tail * tail), LARGEST_SCALE)


def width_at(step: int) -> float:
    """Nanoseconds of W on the grid."""
    return math.exp2(step / STEPS_PER_OCTAVE)


class OutstandingWork:
    """Expected work of all open jobs, and what follows from it: W, `step`, `boost_ns` and
    `runner_ns` (docs/algorithm.md).

    Head start of a job that needs x still = W * ln(1 / (1 - exp(-x / W))): nearly W * ln(W / x) for
    x far below W, nothing far above, so that long jobs are first come, first served among
    themselves (the boost of Yu and Scully, "Strongly tail-optimal scheduling in the light-tailed
    M/G/1", 2024, with a W that follows the load). `boost_ns` is that of a level, while nothing is
    learned; of what is learned `demand_table` makes better ones, for W on a grid of `step`s, that a
    cell need not ask anew whenever W moves.
    """

    def __init__(self, base_ns: int, tail: float = DEFAULT_TAIL) -> None:
        """`base_ns` is the index that level 1 stands for; each further level stands for twice as
        much.
        """
        self._base_ns = base_ns
        self._scale = scale_of(tail)
        self.tail = tail
        """The dial as it was last set."""
        self.work_ns = 0
        """Expected demand of the open jobs; the owner adds and takes away."""
        self._peak_ns = 0
        self._peak_at_ns = 0
        self.width_ns = 1.0
        self.step = 0
        """W is about `width_at(step)`."""
        self.runner_ns = 0
        """The bonus of a job that ran in the last iteration."""
        self._boosts: dict[int, int] = {}

    def turn(self, tail: float) -> None:
        """Set the dial; counts from the next `settle`."""
        self._scale = scale_of(tail)
        self.tail = tail

    def settle(self, now_ns: int) -> None:
        """Head starts follow the outstanding work as it is now. Ranks change with it, so only where
        the order changes anyway.
        """
        sunk_ns = self._peak_ns - (now_ns - self._peak_at_ns) // PEAK_DECAY
        self._peak_ns, self._peak_at_ns = max(self.work_ns, sunk_ns), now_ns
        self.width_ns = max(self._scale * self._peak_ns, 1.0)
        self.step = round(STEPS_PER_OCTAVE * math.log2(self.width_ns))
        bonus_ns = max(self.width_ns, self._peak_ns / RUNNER_SHARE) * math.log(RUNNER_FACTOR)
        self.runner_ns = round(bonus_ns)
        self._boosts.clear()

    def boost_ns(self, rung: int) -> int:
        """The head start on a level, or below it."""
        boost_ns = self._boosts.get(rung)
        if boost_ns is None:
            index_ns = math.ldexp(self._base_ns, rung - 1)
            boost_ns = round(-self.width_ns * math.log(-math.expm1(-index_ns / self.width_ns)))
            self._boosts[rung] = boost_ns
        return boost_ns
