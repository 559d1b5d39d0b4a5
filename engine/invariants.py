"""What holds of the engine's state between two turns.

Owns `check`, which compares rows, jobs, batch, columns and ledger with each other and raises
InvariantViolation with the first rule found broken. It changes nothing; engine/turn calls it now
and then when the engine is idle, and after every turn where that is asked for.
"""

from __future__ import annotations

from ..core.errors import InvariantViolation
from ..kvstore import invariants as kv_invariants
from ..kvstore.job_kv import DECODE, OUT, PREFILL
from ..kvstore.table import Residency
from ..scheduler import invariants as policy_invariants
from .rows import Phase
from .state import EngineState

_AT_HOME = (Residency.RESIDENT, Residency.RETURNING)


def check(state: EngineState, now_ns: int) -> None:
    """Raise InvariantViolation unless every book agrees with every other. O(jobs + pool); between
    turns.
    """
    _check_jobs(state, now_ns)
    _check_batch(state)
    kv_invariants.check(state.ledger, [row.kv.table for row in state.rows.values()])
    policy_invariants.check(state.policy, state.tick(now_ns))


def _check_jobs(state: EngineState, now_ns: int) -> None:
    books = state.planner.books
    _hold(state.rows.keys() == books.jobs.keys(), "every open job has a row and a JobKv")
    ready = sum(row.kv.ready for row in state.rows.values())
    _hold(ready == books.ready_jobs, "jobs with a prompt are counted")
    ranked = {handle for _, handle in state.policy.order(state.tick(now_ns))}
    _hold(ranked == state.rows.keys(), "the policy ranks exactly the open jobs")
    at_home = {handle for handle, row in state.rows.items() if row.kv.table.residency in _AT_HOME}
    _hold(books.residents.keys() == at_home, "residents are the jobs at home or on their way there")
    for handle, row in state.rows.items():
        kv = row.kv
        _hold(books.jobs[handle] is kv, "row and planner share the job's KV")
        generated = kv.generated_at(state.steps)
        computed = kv.computed + generated - kv.generated
        # A last token may be in flight, where the turn runs ahead.
        limit = kv.max_new_tokens + (kv.stage is DECODE and state.unanswered_steps > 0)
        _hold(generated < limit, f"job {handle} has tokens left to emit")
        _hold(kv.filling or computed == kv.prompt_tokens + generated - 1, f"job {handle} misses no KV but the last")
        table = kv.table
        if kv.filling and table.blocks:
            room = len(table.blocks) * state.ledger.page_tokens
            _hold(room >= computed, f"job {handle} has pages for what it computed")
        if row.slot < 0:
            _hold(len(row.out) == generated, f"job {handle} keeps every token it emitted")
        account = row.account(now_ns)
        _hold(account.jct_ns == now_ns - row.start_ns, f"the time of job {handle} is booked once")
        running = row.phase in (Phase.PREFILL, Phase.DECODE)
        _hold(running == (kv.stage is not OUT), f"job {handle} is booked as running when it is in the batch")


def _check_batch(state: EngineState) -> None:
    running, steps = state.planner.books.running, state.steps
    # Members that ended since the plan are still in the list.
    members = [kv for kv in running.members if kv.stage is DECODE]
    decoding = [row for row in state.rows.values() if row.kv.stage is DECODE]
    _hold({kv.handle for kv in members} == {row.handle for row in decoding}, "members decode and decoders are members")
    contexts = sum(kv.computed + steps - kv.since_step + 1 for kv in members)
    _hold(contexts == running.context_sum, "the contexts of the batch are summed")
    for kv in members:
        room = len(kv.table.blocks) * state.ledger.page_tokens
        computed = kv.computed + steps - kv.since_step
        _hold(kv.table.resident, f"member {kv.handle} is at home")
        _hold(kv.grow_step - steps == room - computed, f"member {kv.handle} knows when it needs a page")
        _hold(kv in (running.growth.peek(kv.grow_step) or ()), f"member {kv.handle} is in the calendar")
    slots = [row.slot for row in decoding]
    _hold(len(set(slots)) == len(slots) and all(slot >= 0 for slot in slots), "every member has a place of its own")
    _hold(all(row.slot < 0 for row in state.rows.values() if row.kv.stage is not DECODE), "nobody else has one")
    in_batch = sum(1 for row in state.rows.values() if row.kv.stage in (PREFILL, DECODE))
    _hold(in_batch <= state.planner.rules.max_batch, "the batch is within its bound")


def _hold(true: bool, rule: str) -> None:
    if not true:
        raise InvariantViolation(f"The engine broke a rule: {rule}.")
