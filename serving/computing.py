"""An executor that has started, and what is known of it.

Owns the value that engine_parts gets from the simulated and the torch side. It makes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..core.ports import Executor, ExecutorFacts
from ..profiler.model import LinearCostModel


@dataclass(frozen=True, slots=True)
class Computing:
    """`device`, `dtype` and `profile` are words for the start line and the log."""

    executor: Executor
    facts: ExecutorFacts
    cost: LinearCostModel
    device: str
    dtype: str
    profile: str
