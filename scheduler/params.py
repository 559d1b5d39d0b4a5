"""What an operator may set about the ladder.

Owns `LadderParams`, which checks itself. It does not know the cost model that the first quantum
comes from; the settings of the commands fill it and `registry` hands it to the policies.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from ..core.errors import InvalidSettings

Starvation = Literal["off", "granted", "paper"]
"""off: nobody is promoted. granted: overdue jobs are offered, the planner grants. paper: a flat
timer promotes at once.
"""

STARVATIONS: tuple[Starvation, ...] = ("off", "granted", "paper")


@dataclass(frozen=True, slots=True)
class LadderParams:
    """Levels and starvation.

    `base_quantum_ns` None takes the cost model's decode time at batch 1, context 0. Each quantum is
    `ratio` times the one before. A job is offered for promotion when it has waited
    `max(starvation_floor_ns, starvation_factor * its charged service)`; promotions take at most
    `starvation_share` of the time. `paper_alpha_ns` is the flat timer of starvation `paper`
    (FastServe section 4.1: 300 ms). Raises InvalidSettings.
    """

    base_quantum_ns: int | None = None
    ratio: float = 2.0
    starvation_floor_ns: int = 3_000_000_000
    starvation_factor: float = 8.0
    starvation_share: float = 0.125
    paper_alpha_ns: int = 300_000_000

    def __post_init__(self) -> None:
        if self.base_quantum_ns is not None:
            _within("base_quantum_ns", self.base_quantum_ns, 1, 10**15)
        _within("ratio", self.ratio, 1.1, 1000.0)
        _within("starvation_floor_ns", self.starvation_floor_ns, 1, 10**15)
        _within("starvation_factor", self.starvation_factor, 0.0, 1e6)
        _within("starvation_share", self.starvation_share, 0.001, 1.0)
        _within("paper_alpha_ns", self.paper_alpha_ns, 1, 10**15)


def check_starvation(value: str) -> Starvation:
    """The value itself, or InvalidSettings."""
    for known in STARVATIONS:
        if value == known:
            return known
    raise InvalidSettings(f"starvation is {value!r}.", field="starvation", limit=f"one of {', '.join(STARVATIONS)}")


def _within(field: str, value: float, low: float, high: float) -> None:
    whole = field.endswith("_ns")
    number = isinstance(value, int) if whole else isinstance(value, (int, float))
    if isinstance(value, bool) or not number or not math.isfinite(value) or not low <= value <= high:
        raise InvalidSettings(
            f"{field} is {value!r}.", field=field, limit=f"{'whole, ' if whole else ''}{low:g} to {high:g}"
        )
