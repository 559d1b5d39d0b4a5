"""A figure that was measured several times, and whether it is what it shall be.

Every table of `bench` is made of these: a room's own rows hold a `Spread` and ask `held`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True, slots=True)
class Spread:
    """Median, smallest and largest of the repeats."""

    median: float
    low: float
    high: float

    @staticmethod
    def of(values: Sequence[float]) -> Spread:
        """Of at least one value."""
        return Spread(median(values), min(values), max(values))

    @staticmethod
    def known(values: Sequence[float]) -> Spread | None:
        """As `of`; None where there is no value."""
        return Spread.of(values) if values else None

    @staticmethod
    def of_ratios(ours: Mapping[int, float], theirs: Mapping[int, float]) -> Spread | None:
        """Ours over theirs in each repeat that both have, so that a slow minute meets both sides."""
        return Spread.known([value / theirs[at] for at, value in ours.items() if theirs.get(at)])

    @property
    def relative(self) -> float:
        """Largest less smallest, over the median."""
        return (self.high - self.low) / self.median if self.median else 0.0


def held(value: float | Spread | None, limit: float | None, *, at_most: bool) -> bool | None:
    """Whether a value, or the median of several, keeps its limit; None where one of the two is not
    known.
    """
    found = value.median if isinstance(value, Spread) else value
    if found is None or limit is None:
        return None
    return found <= limit if at_most else found >= limit


def near_one(ratios: Sequence[float], within: float) -> bool | None:
    """Whether the median of simulated over measured is that near to 1; None of no values."""
    return abs(median(ratios) - 1.0) <= within if ratios else None


@dataclass(frozen=True, slots=True)
class Verdict:
    """Ours over another's."""

    #: A batch or a cell.
    where: str
    #: What is compared.
    label: str
    over: str
    #: None: one of the two is not known.
    ratio: Spread | None
    limit: float
    at_most: bool = False

    @property
    def holds(self) -> bool | None:
        """None: not known."""
        return held(self.ratio, self.limit, at_most=self.at_most)
