"""Unchanged turns in a row, taken as one.

Owns the loop that leaves the engine as so many turns without events would, each repeating the last
decode batch. It does not know what carries the plans out: only an executor that takes exactly the
predicted time and answers a known token can be spared them, which is the simulator's in virtual
time. sim/world calls it, and a property test compares.
"""

from __future__ import annotations

import math

from .state import EngineState


def run_on(
    state: EngineState, now_ns: int, event_ns: int | None, landing_ns: int | None, token: int
) -> tuple[int, int]:
    """Repeat the batch until something else is to happen; the turns that took and when the last one
    ended.

    `event_ns`: when the next event is there, `landing_ns`: when the next move lands (None: never).
    `token`: what every member emits every time.
    """
    policy, emission, running = state.policy, state.emission, state.planner.books.running
    if state.charged or state.in_flight or emission.looks_at_tokens:
        return 0, now_ns
    least_free = state.planner.unchanged(policy, state.tick(now_ns))
    if least_free is None:
        return 0, now_ns
    before_ns = _first(event_ns, policy.next_change_ns(), state.dues.next_ns())
    crossing_ns, landing = _first(policy.next_crossing_ns()), _first(landing_ns)
    cost_of, may_end, ledger, size = state.cost.decode_ns, emission.may_end, state.ledger, len(running.decode)
    first = step = state.steps
    decode_ns, context_sum = state.decode_ns, running.context_sum
    while now_ns < before_ns and decode_ns < crossing_ns and not may_end(step):
        step_ns = cost_of(size, context_sum)
        if now_ns + step_ns >= landing or not running.grow_due(ledger, step, least_free):
            break
        now_ns += step_ns
        decode_ns += step_ns
        context_sum += size
        step += 1
    if step > first:
        emission.absorb_run(first, step, token)
    state.decode_ns, state.steps, running.context_sum = decode_ns, step, context_sum
    state.plans += step - first
    return step - first, now_ns


def _first(*times_ns: int | None) -> float:
    """The first of some times, infinity where none is known."""
    return min((at for at in times_ns if at is not None), default=math.inf)
