"""Where a job's time went, as parts that sum exactly.

Owns the five parts of a job account in their order and the rounding that keeps their sum: in
whatever unit they are shown, the rows add up to the total that is shown. It prints nothing;
`render.py` does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..proto.job_pool_pb2 import JobAccount


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a job's time: its name, what it means, nanoseconds."""

    name: str
    meaning: str
    ns: int


def parts_of(account: JobAccount) -> tuple[Part, ...]:
    """The five parts; their sum is the job completion time (or the time until now)."""
    return (
        Part("queued", "waited for its first turn", account.queued_ns),
        Part("prefill", "computed its prompt", account.prefill_ns),
        Part("decode", "made tokens", account.decode_ns),
        Part("preempted", "had to step aside for better-placed jobs", account.preempted_ns),
        Part("moving", "waited for its KV to come back", account.moving_ns),
    )


def shares(values: Sequence[int], whole: int) -> list[int]:
    """`whole` cut in the proportions of `values`, in whole numbers that sum to `whole` (largest
    remainder; all 0 when there is nothing).
    """
    total = sum(values)
    if total <= 0:
        return [0] * len(values)
    exact = [divmod(value * whole, total) for value in values]
    cut = [quotient for quotient, _ in exact]
    by_rest = sorted(range(len(values)), key=lambda at: -exact[at][1])
    for at in by_rest[: whole - sum(cut)]:
        cut[at] += 1
    return cut


def in_steps(values_ns: Sequence[int], step_ns: int) -> tuple[list[int], int]:
    """The values and their sum in steps of `step_ns`, rounded so that the values add up to the sum."""
    total = round(sum(values_ns) / step_ns)
    return shares(values_ns, total), total
