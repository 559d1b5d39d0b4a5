"""An executor that has started, and what is known of it.

Owns the value that engine_parts gets from the simulated and the torch side. It makes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ...core.executor import Executor, ExecutorFacts
from ...cost.exact import BaseCost
from .rank_rows import RankRows

ROOFLINE = "roofline"
"""The profile that is estimated at start, in place of a name or file."""


@dataclass(frozen=True, slots=True)
class Computing:
    """`cost` is the profile's, uncorrected; `device`, `dtype` and `profile` are words for the start
    line and the log. `at_once`: a plan is computed when it is submitted; else the host goes on
    beside it. `ranks`: who computes, for an operator.
    """

    executor: Executor
    facts: ExecutorFacts
    cost: BaseCost
    device: str
    dtype: str
    profile: str
    at_once: bool = True
    ranks: RankRows = field(default_factory=lambda: RankRows(()))
