"""What holds of the engine's state between two turns.

Owns `check`, which compares rows, sequences, batch, columns and ledger with each other and raises InvariantViolation with the first rule found
broken. It changes nothing; tests call it after every turn.
"""

from __future__ import annotations

from ..core.errors import InvariantViolation
from ..kvstore import invariants as kv_invariants
from ..kvstore.sequence import DECODE, OUT, PREFILL
from ..kvstore.table import Residency
from .rows import Phase
from .state import EngineState

_AT_HOME = (Residency.RESIDENT, Residency.RETURNING)


def check(state: EngineState, now_ns: int) -> None:
    """Raise InvariantViolation unless every book agrees with every other. O(jobs + pool); between turns."""
    _check_jobs(state, now_ns)
    _check_batch(state)
    kv_invariants.check(state.ledger, [row.seq.table for row in state.rows.values()])


def _check_jobs(state: EngineState, now_ns: int) -> None:
    planner = state.planner
    _hold(state.rows.keys() == planner.seqs.keys(), "every live job has a row and a sequence")
    ready = sum(row.seq.ready for row in state.rows.values())
    _hold(ready == planner.ready_jobs, "jobs with a prompt are counted")
    ranked = {handle for _, handle in state.policy.order(state.tick(now_ns))}
    _hold(ranked == state.rows.keys(), "the policy ranks exactly the live jobs")
    at_home = {handle for handle, row in state.rows.items() if row.seq.table.residency in _AT_HOME}
    _hold(planner.residents.keys() == at_home, "residents are the jobs at home or on their way there")
    for handle, row in state.rows.items():
        seq = row.seq
        _hold(planner.seqs[handle] is seq, "row and planner share the sequence")
        generated = seq.generated_at(state.steps)
        computed = seq.computed + generated - seq.generated
        # A last token may be in flight, where the turn runs ahead.
        limit = seq.max_new_tokens + (seq.stage == DECODE and state.unanswered_steps > 0)
        _hold(generated < limit, f"job {handle} has tokens left to emit")
        _hold(seq.filling or computed == seq.prompt_tokens + generated - 1, f"job {handle} misses no KV but the last")
        table = seq.table
        if seq.filling and table.blocks:
            room = len(table.blocks) * state.ledger.page_tokens
            _hold(room >= computed, f"job {handle} has pages for what it computed")
        if row.slot < 0:
            _hold(len(row.out) == generated, f"job {handle} keeps every token it emitted")
        account = row.account(now_ns)
        _hold(account.jct_ns == now_ns - row.start_ns, f"the time of job {handle} is booked once")
        running = row.phase in (Phase.PREFILL, Phase.DECODE)
        _hold(running == (seq.stage != OUT), f"job {handle} is booked as running when it is in the batch")


def _check_batch(state: EngineState) -> None:
    running, steps = state.planner.running, state.steps
    # Members that ended since the plan are still in the list.
    members = [seq for seq in running.members if seq.stage == DECODE]
    decoding = [row for row in state.rows.values() if row.seq.stage == DECODE]
    _hold(
        {seq.handle for seq in members} == {row.handle for row in decoding}, "members decode and decoders are members"
    )
    contexts = sum(seq.computed + steps - seq.since_step + 1 for seq in members)
    _hold(contexts == running.context_sum, "the contexts of the batch are summed")
    for seq in members:
        room = len(seq.table.blocks) * state.ledger.page_tokens
        computed = seq.computed + steps - seq.since_step
        _hold(seq.table.resident, f"member {seq.handle} is at home")
        _hold(seq.grow_step - steps == room - computed, f"member {seq.handle} knows when it needs a page")
        _hold(seq in (running.growth.peek(seq.grow_step) or ()), f"member {seq.handle} is in the calendar")
    slots = [row.slot for row in decoding]
    _hold(len(set(slots)) == len(slots) and all(slot >= 0 for slot in slots), "every member has a place of its own")
    _hold(all(row.slot < 0 for row in state.rows.values() if row.seq.stage != DECODE), "nobody else has one")
    in_batch = sum(1 for row in state.rows.values() if row.seq.stage in (PREFILL, DECODE))
    _hold(in_batch <= state.planner.max_batch, "the batch is within its bound")


def _hold(true: bool, rule: str) -> None:
    if not true:
        raise InvariantViolation(f"The engine broke a rule: {rule}.")
