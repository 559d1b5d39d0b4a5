"""The paper's worked example (FastServe v3, Fig 7) in spirit: one long prompt and two short jobs
arrive together on a batch of one.

The paper prints mean latencies FCFS 4.23, plain MLFQ 5, skip-join 3.3, SRPT 3 but not the sizes, so
sizes of our own are played here by a loop that obeys the policy at every iteration; what must hold
is the order of the four, and the values worked out by hand.
"""

from __future__ import annotations

from fractions import Fraction

import pytest

from skipjoin.core.ids import Handle
from skipjoin.core.policy import JobAttributes, Policy, Tick
from skipjoin.cost.linear import LinearCostModel
from skipjoin.scheduler.params import LadderParams
from skipjoin.scheduler.registry import make_policy

UNIT = 1_000
COST = LinearCostModel(
    fixed_ns=1.0, prefill_token_ns=UNIT, prefill_pair_ns=0.0, decode_context_ns=0.0, decode_job_ns=UNIT - 1
)
# (prefill, decode iterations) in units of one decode iteration; quanta 1, 2, 4, 8 as in the paper
JOBS = ((4, 1), (1, 1), (1, 1))


def mean_latency(name: str) -> Fraction:
    """Play the three jobs one at a time, best ranked first, preempting after every iteration where
    the policy does.
    """
    policy: Policy = make_policy(name, COST, LadderParams(base_quantum_ns=UNIT), "off", max_batch=1)
    tick = Tick(0, 0, 0)
    left = {}
    for number, (prefill, decodes) in enumerate(JOBS, start=1):
        handle = Handle(number)
        left[handle] = [prefill, decodes]
        policy.submitted(
            JobAttributes(handle, 0, prefill, prefill, prefill * UNIT, decodes + 1, output_tokens=decodes + 1), tick
        )
    running: Handle | None = None
    ends: list[int] = []
    while left:
        policy.advance(tick)
        best = next(handle for _, handle in policy.order(tick))
        if running is None or (policy.preempts and best != running):
            if running is not None:
                policy.leave(running, tick)
            policy.join(best, tick)
            if left[best][0] == 0:
                policy.decoding(best, tick)
            running = best
        prefill, _ = left[running]
        if prefill:
            policy.charge(running, prefill * UNIT, prefill, tick)
            left[running][0] = 0
            tick = tick._replace(now_ns=tick.now_ns + prefill * UNIT)
            policy.decoding(running, tick)
        else:
            left[running][1] -= 1
            tick = Tick(tick.now_ns + UNIT, tick.decode_ns + UNIT, tick.steps + 1)
        if left[running][1] == 0:
            policy.removed(running, tick)
            del left[running]
            ends.append(tick.now_ns // UNIT)
            running = None
    return Fraction(sum(ends), len(ends))


@pytest.mark.parametrize(
    ("policy", "ends"),
    [
        # the long prompt first, then the others in turn
        ("fcfs", (5, 7, 9)),
        # the long prompt blocks the top level, uses up 1 of 4 and falls to level 3; then prefills
        # B, C, decodes B, C, then A's
        ("mlfq", (7, 8, 9)),
        # A joins level 3; prefills B, C (each falls to level 2), decodes B, C, then all of A
        ("skipjoin", (3, 4, 9)),
        ("srpt-oracle", (2, 4, 9)),
    ],
)
def test_mean_latency_worked_out_by_hand(policy: str, ends: tuple[int, ...]) -> None:
    assert mean_latency(policy) == Fraction(sum(ends), 3)


def test_the_paper_s_order_of_the_four() -> None:
    assert mean_latency("srpt-oracle") < mean_latency("skipjoin") < mean_latency("fcfs") < mean_latency("mlfq")
