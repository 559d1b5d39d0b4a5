"""Events from outside, one by one.

Owns what each event does to the state: a job enters, its prompt arrives, it is cancelled or
overdue, the policy is switched, somebody asks. It does not know who sends them; engine/turn drains
them into `apply` at one instant.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..core.effects import (
    AccountGiven,
    Effect,
    Finished,
    KvDepth,
    LevelCause,
    LevelChanged,
    LevelDepth,
    SnapshotGiven,
)
from ..core.errors import InvalidSettings, InvariantViolation
from ..core.events import (
    AccountAsked,
    CancelRequested,
    Event,
    PolicyChosen,
    PromptArrived,
    SnapshotAsked,
    Submitted,
)
from ..core.ids import Handle
from ..core.job import FinishReason
from ..core.policy import Dialled, JobAttributes, Tick
from ..kvstore.job_kv import DECODE, OUT, JobKv
from .rows import Row
from .state import EngineState


def apply(state: EngineState, events: Sequence[Event], now_ns: int, effects: list[Effect]) -> None:
    """Apply a batch of events at one instant, then end the jobs whose deadline has passed."""
    tick = state.tick(now_ns)
    for event in events:
        match event:
            case Submitted():
                _submitted(state, event, tick, effects)
            case PromptArrived():
                _prompt_arrived(state, event)
            case CancelRequested():
                row = state.rows.get(event.handle)
                if row is not None:
                    state.finish([(row, FinishReason.CANCELLED)], tick, effects)
            case PolicyChosen():
                _policy_chosen(state, event, tick, effects)
            case AccountAsked():
                effects.append(_account(state, event, now_ns))
            case SnapshotAsked():
                effects.append(_snapshot(state, event.question, tick))
    overdue = state.dues.pop(now_ns)
    if overdue:
        state.finish([(state.rows[handle], FinishReason.EXPIRED) for handle in overdue], tick, effects)


def _submitted(state: EngineState, event: Submitted, tick: Tick, effects: list[Effect]) -> None:
    handle = event.handle
    if handle in state.rows:
        raise InvariantViolation(f"Handle {handle} was submitted twice.")
    generated = 0 if event.generated is None else len(event.generated)
    limit = event.asked.sampling.max_new_tokens
    assert limit is not None, "max_new_tokens is resolved before a job enters the engine"
    kv = JobKv(
        handle,
        event.prompt_tokens,
        limit,
        generated=generated,
        ready=event.has_prompt,
        alone=event.alone,
    )
    row = Row(event, kv, tick.now_ns)
    refusal = _refusal(state, event, limit)
    reason = FinishReason.FAILED if refusal is not None else _already_ended(state, row)
    if reason is not None:
        effects.append(Finished(handle, reason, generated, row.account(tick.now_ns), refusal))
        return
    state.rows[handle] = row
    state.policy.submitted(_attributes(state, row), tick)
    state.planner.add(kv)
    if event.deadline_ns is not None:
        state.dues.add(event.deadline_ns, handle)


def _refusal(state: EngineState, event: Submitted, limit: int) -> tuple[str, str] | None:
    if event.prompt_tokens < 1:
        return ("INVALID_INPUT", "The prompt has no tokens.")
    tokens = event.prompt_tokens + limit
    if tokens > state.max_tokens:
        return (
            "NEVER_FITS",
            f"Prompt and new tokens are {tokens} together; this engine holds at most {state.max_tokens} of one job.",
        )
    if event.asked.sampling.stop and not state.emission.knows_bytes:
        return ("INVALID_INPUT", "Stop strings need a tokenizer, and this engine runs without one.")
    return None


def _already_ended(state: EngineState, row: Row) -> FinishReason | None:
    """A job taken over may have logged its last token before the old owner could say so."""
    for token in row.out:
        if state.emission.ends(row, token):
            return FinishReason.STOP
    return FinishReason.LENGTH if len(row.out) >= row.kv.max_new_tokens else None


def _attributes(state: EngineState, row: Row) -> JobAttributes:
    event, kv = row.submitted, row.kv
    generated = kv.generated_at(state.steps)
    uncached = event.prompt_tokens + generated
    return JobAttributes(
        handle=event.handle,
        arrival_ns=event.arrival_ns,
        prompt_tokens=event.prompt_tokens,
        uncached_tokens=uncached,
        entry_ns=state.cost.prompt_ns(uncached),
        max_new_tokens=kv.max_new_tokens,
        generated_tokens=generated,
        tenant=event.tenant,
        asked=event.asked,
        earlier_output_tokens=event.earlier_output_tokens,
        output_tokens=event.output_tokens,
    )


def _prompt_arrived(state: EngineState, event: PromptArrived) -> None:
    row = state.rows.get(event.handle)
    if row is None:
        return
    if len(event.prompt) != row.submitted.prompt_tokens:
        raise InvariantViolation(f"The prompt of job {event.handle} has another length than was said.")
    row.prompt = event.prompt
    state.planner.prompt_arrived(event.handle)


def _policy_chosen(state: EngineState, event: PolicyChosen, tick: Tick, effects: list[Effect]) -> None:
    """Rank everybody anew, in arrival order; what was charged before is forgotten, places in the
    batch are kept.

    A policy that is on and has a dial keeps what it learned, and only its dial is turned. A policy
    that there is not, or that cannot rank these jobs, and a dial out of bounds change nothing: the
    door refuses them before, a snapshot says what is on.
    """
    old = state.policy
    rows = sorted(state.rows.values(), key=_by_arrival)
    try:
        if event.tail is not None and event.policy == old.name and isinstance(old, Dialled):
            old.set_tail(event.tail, tick)
            return
        new = state.make_policy(event.policy, event.tail)
        levels = [new.submitted(_attributes(state, row), tick) for row in rows]
    except InvalidSettings:
        return
    state.policy = new
    for row, after in zip(rows, levels, strict=True):
        handle = row.handle
        before = old.level(handle)
        if row.kv.stage is not OUT:
            new.join(handle, tick)
            if row.kv.stage is DECODE:
                new.decoding(handle, tick)
        if after != before:
            state.note_levels([LevelChanged(handle, before, after, LevelCause.POLICY)], effects)
    state.planner.policy_changed()


def _by_arrival(row: Row) -> tuple[int, Handle]:
    return row.start_ns, row.handle


def _account(state: EngineState, event: AccountAsked, now_ns: int) -> AccountGiven:
    row = state.rows.get(event.handle)
    if row is None:
        return AccountGiven(event.question, event.handle, None)
    level = state.policy.level(event.handle)
    return AccountGiven(event.question, event.handle, row.account(now_ns), level, row.phase.name.lower())


def _snapshot(state: EngineState, question: int, tick: Tick) -> SnapshotGiven:
    ledger = state.ledger
    depths = state.policy.depths(tick)
    kv = KvDepth(
        device_total=ledger.device.total,
        device_free=ledger.device.free,
        device_owned=ledger.device.owned,
        device_in_flight=ledger.device.in_flight,
        host_total=ledger.host.total,
        host_free=ledger.host.free,
        host_owned=ledger.host.owned,
        host_in_flight=ledger.host.in_flight,
        clean_pages=ledger.clean,
    )
    running = sum(1 for row in state.rows.values() if row.kv.stage is not OUT)
    return SnapshotGiven(
        question,
        state.policy.name,
        tuple(LevelDepth(*depth) for depth in depths),
        kv,
        len(state.rows),
        running,
        state.policy.tail if isinstance(state.policy, Dialled) else None,
    )
