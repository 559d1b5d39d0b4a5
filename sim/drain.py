"""How fast the machine completes jobs when it never waits for one: the denominator of load.

Owns the drain run of algorithm.md section 3: all requests present at time 0, `fcfs`, the same batch
and KV room; completions a second between the 10th and the 90th percentile completion. It knows
neither traces nor other policies; the command asks it for `--load`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..core.errors import InvalidSettings
from ..workload.requests import Workload
from .world import Machine, Progress, simulate

DRAIN_POLICY = "fcfs"
NS = 1e9


def drain_rate(machine: Machine, workload: Workload, progress: Progress | None = None) -> float:
    """Completions a second of `workload`, all present at time 0. Raises InvalidSettings when it is
    too short to tell.
    """
    return completion_rate(simulate(machine, DRAIN_POLICY, workload.at_once(), progress).ends_ns)


def completion_rate(
    ends_ns: Sequence[int], *, field: str = "load", advice: str = "give more --requests, or --rate instead of --load"
) -> float:
    """Completions a second between the 10th and the 90th percentile (nearest rank) of the times
    `ends_ns`.

    Raises InvalidSettings when they are too few to tell, with the `advice` of whoever asked for so
    many.
    """
    ordered = sorted(ends_ns)
    count = len(ordered)
    low, high = math.ceil(count / 10), math.ceil(count * 9 / 10)
    if count < 2 or ordered[high - 1] <= ordered[low - 1]:
        raise InvalidSettings(
            f"The run is too short for a drain rate: {advice}.",
            field=field,
            limit="jobs that end at two different times",
        )
    return (high - low) * NS / (ordered[high - 1] - ordered[low - 1])
