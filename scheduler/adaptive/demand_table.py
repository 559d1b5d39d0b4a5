"""What jobs of one kind still ask of the machine, at every age: the expected demand, its Gittins
index, and the head start that it deserves.

Owns the tables made of hazards and prices and the rule of prompt classes. It does not know jobs,
levels or who counts; `cells` asks it for the price of a cell, and everything is made anew when
hazards are.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ..lengths.hazards import BINS, EDGES, NO_SCORE
from ..lengths.life_counts import Floats
from .demand import Demand

_CLASSES_PER_OCTAVE = 4
CLASS_EDGES: tuple[int, ...] = tuple(
    sorted({int(2 ** (step / _CLASSES_PER_OCTAVE)) for step in range(20 * _CLASSES_PER_OCTAVE + 1)})
)
"""Prompt lengths at which classes begin; every power of two is one of them, so that a class lies in
one bucket of `Lengths`.
"""

_ALIKE = 0.01
"""Prices that differ by less are left as they are."""

SHARES = 4
"""What is left of a prompt is counted in quarters."""


def class_of(prompt_tokens: int) -> int:
    """The class of a prompt."""
    return bisect_right(CLASS_EDGES, prompt_tokens) - 1


_LARGEST_EXPONENT = 60.0


@dataclass(frozen=True, slots=True)
class Price:
    """Whole nanoseconds: the Gittins index of a cell's remaining demand, and what is expected of
    such prompts at such an age.
    """

    index_ns: int
    expected_ns: int


class _Life:
    """Of those who begin an age bin, for each bin from there on: `alive` behind it, `gone` by its
    end, who `ends` in it, and the `shares` of it that are lived through.
    """

    __slots__ = ("alive", "ends", "gone", "shares")

    def __init__(self, hazards: Floats) -> None:
        self.alive = (1.0 - hazards).cumprod()
        self.gone = 1.0 - self.alive
        self.ends, self.shares = hazards.copy(), 1.0 - hazards / 2.0
        self.ends[1:] *= self.alive[:-1]
        self.shares[1:] *= self.alive[:-1]


class Curves(Protocol):
    """Who knows hazards: `lengths` by prompt, `forecast` by prompt and score."""

    def bucket(self, prompt_tokens: int) -> int:
        """The bucket of a prompt."""
        ...

    def curve(self, bucket: int, score: int) -> Floats:
        """float64[bins]: the share of those who reach a bin that end in it."""
        ...


class DemandTable:
    """Prices by (prompt class, quarters of the prompt left, age bin, score), made when asked for
    and kept until the hazards change.

    The index is the least ratio of demand to success over all horizons (Gittins 1979; Aalto, Ayesta
    and Righter, "On the Gittins index in the M/G/1 queue", 2009): min over m >= k of (prefill left
    + expected demand in bins k..m) / P(the job ends in bins k..m). A job that ends within a bin is
    charged half of it.
    """

    def __init__(self, demand: Demand, curves: Curves) -> None:
        self._demand = demand
        self._curves = curves
        self._bin_costs: dict[int, Floats] = {}  # a class's demand of each whole bin; hazards do not change it
        self._unit_ns = self._probe_ns()  # what they were priced by
        self._rows: dict[tuple[int, int, int], tuple[Floats, Floats]] = {}
        self._lives: dict[tuple[int, int, int], _Life] = {}
        self._prices: dict[tuple[int, int, int, int], Price] = {}
        self.made = 0
        """How often everything was made anew."""

    def clear(self) -> None:
        """The hazards are new, and where the cost model was corrected meanwhile so are the prices:
        classes must be priced alike.
        """
        self.made += 1
        self._rows.clear()
        self._lives.clear()
        self._prices.clear()
        unit_ns = self._probe_ns()
        if abs(unit_ns - self._unit_ns) > _ALIKE * self._unit_ns:
            self._unit_ns = unit_ns
            self._bin_costs.clear()

    def _probe_ns(self) -> int:
        return self._demand.decode_ns(256, 256)

    def price(self, prompt_class: int, quarters: int, age_bin: int, score: int = NO_SCORE) -> Price:
        """Of the jobs of one cell."""
        cell = (prompt_class, quarters, age_bin, score)
        found = self._prices.get(cell)
        if found is None:
            prefill_ns = self._prefill_ns(prompt_class, quarters)
            costs, success = self._row(prompt_class, age_bin, score)
            index_ns = float(((prefill_ns + costs) / success).min())
            # Sums of the expectation scale the head starts of all: they go by prompts, so that no
            # score can move them.
            expected_ns = prefill_ns + float(self._row(prompt_class, age_bin, NO_SCORE)[0][-1])
            found = Price(max(round(index_ns), 1), max(round(expected_ns), 1))
            self._prices[cell] = found
        return found

    def head_start(
        self, prompt_class: int, quarters: int, age_bin: int, score: int = NO_SCORE, *, width_ns: float
    ) -> float:
        """Of the jobs of one cell, in units of the width W: ln max_m E[exp(S/W); S ends in a bin up
        to m] / E[exp(min(S, m)/W) - 1], 0 at least.

        S is the demand to come. This is the Gittins index under a discount rate of -1/W, which
        minimises the tail of response times where sizes are not known (Harlev, Yu and Scully, "A
        Gittins policy for optimizing tail latency", POMACS 2025); for a known S it is the boost ln
        1 / (1 - exp(-S/W)).
        """
        life = self._life(prompt_class, age_bin, score)
        steps = self._bins(prompt_class)[age_bin:] / width_ns
        spent = steps.cumsum()
        spent += self._prefill_ns(prompt_class, quarters) / width_ns
        # Beyond e^60 a ratio is 1 as good as exactly, and its logarithm nothing.
        early = np.minimum(spent - 0.5 * steps, _LARGEST_EXPONENT)
        gain = (life.ends * np.expm1(early, out=early)).cumsum()
        late = np.expm1(np.minimum(spent, _LARGEST_EXPONENT, out=spent), out=spent)
        late *= life.alive
        late += gain
        gain += life.gone
        gain /= late
        return max(math.log(float(gain.max())), 0.0)

    def _prefill_ns(self, prompt_class: int, quarters: int) -> float:
        prompt = middle(prompt_class)
        left = -(-prompt * quarters // SHARES)
        return float(self._demand.prefill_ns(left, prompt - left))

    def _life(self, prompt_class: int, age_bin: int, score: int) -> _Life:
        kind = (self._curves.bucket(CLASS_EDGES[prompt_class]), age_bin, score)
        found = self._lives.get(kind)
        if found is None:
            found = self._lives[kind] = _Life(self._curves.curve(kind[0], score)[age_bin:])
        return found

    def _bins(self, prompt_class: int) -> Floats:
        bin_costs = self._bin_costs.get(prompt_class)
        if bin_costs is None:
            bin_costs = self._bin_costs[prompt_class] = self._price_bins(middle(prompt_class))
        return bin_costs

    def _row(self, prompt_class: int, age_bin: int, score: int) -> tuple[Floats, Floats]:
        """For m from `age_bin` on: expected demand until the end of bin m of a job that begins the
        first, and its chance to end by then.
        """
        found = self._rows.get((prompt_class, age_bin, score))
        if found is None:
            life = self._life(prompt_class, age_bin, score)
            found = self._rows[prompt_class, age_bin, score] = (
                (self._bins(prompt_class)[age_bin:] * life.shares).cumsum(),
                life.gone,
            )
        return found

    def _price_bins(self, prompt_tokens: int) -> Floats:
        ends = (*EDGES[1:], EDGES[-1] + EDGES[-1] // 4)
        prices = (
            self._demand.decode_ns(end - begin, prompt_tokens + begin) for begin, end in zip(EDGES, ends, strict=True)
        )
        return np.fromiter(prices, dtype=np.float64, count=BINS)


def middle(prompt_class: int) -> int:
    """The prompt that stands for a class."""
    begin = CLASS_EDGES[prompt_class]
    end = CLASS_EDGES[prompt_class + 1] if prompt_class + 1 < len(CLASS_EDGES) else begin
    return (begin + max(end - 1, begin)) // 2
