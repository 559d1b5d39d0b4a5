"""The engine's rows in the tables of docs/states/cancellation.md, played.

A job is brought into the state of a row and ended there. What is free at once, and what waits for a
move, must be what the row's cell says.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from skipjoin.core.asked import Asked
from skipjoin.core.effects import Effect, Finished
from skipjoin.core.events import CancelRequested, Event, Submitted
from skipjoin.core.ids import Handle
from skipjoin.core.job import FinishReason
from skipjoin.core.plan import Direction
from skipjoin.core.sampling import SamplingParams
from skipjoin.engine import intake
from skipjoin.engine.params import EngineParams
from skipjoin.kvstore.params import KvParams

from .shadow import prompt_of
from .world import World

PAGE = Path(__file__).parents[2] / "docs" / "states" / "cancellation.md"
JOB, RIVAL, NEIGHBOUR = Handle(2), Handle(1), Handle(0)
DEADLINE_NS = 3_600_000_000_000


def _cells(state: str) -> list[str]:
    """The cells of the row of a state."""
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    (row,) = (line for line in lines if line.startswith(f"| {state} |"))
    return [cell.strip() for cell in row.strip("|").split("|")][1:]


def _job(handle: Handle, prompt: int, *, late: bool = False) -> Submitted:
    """Smaller handles are more urgent. Only the job that is ended has a deadline."""
    sampling = SamplingParams(max_new_tokens=20, ignore_eos=True, seed=0)
    return Submitted(
        handle,
        prompt,
        Asked(sampling, handle),
        0,
        prompt=None if late else prompt_of(handle, prompt),
        has_prompt=not late,
        deadline_ns=DEADLINE_NS if handle == JOB else None,
    )


def _world(*, max_batch: int = 1, max_prefill_tokens: int = 256) -> World:
    kv = KvParams(mode="reactive", floor_pages=0, clean_reserve=0.0)
    params = EngineParams(max_batch, max_prefill_tokens, iteration_ms=0.0, kv=kv)
    return World("priority", params, device_pages=12, host_pages=12)


def _until(world: World, reached: Callable[[], bool]) -> World:
    for _ in range(50):
        if reached():
            return world
        world.step()
    raise AssertionError("the state was never reached")


def _phase(world: World) -> str:
    return world.state.rows[JOB].phase.name


def _under_way(world: World, direction: Direction) -> bool:
    tickets = world.state.ledger.tickets.values()
    return (JOB, direction) in [(ticket.handle, ticket.direction) for ticket in tickets]


# the states -----------------------------------------------------------------------------------
def _without_prompt() -> World:
    world = _world()
    world.step([_job(JOB, 24, late=True)])
    return world


def _queued() -> World:
    world = _world()
    world.step([_job(RIVAL, 4), _job(JOB, 24)])
    return _until(world, lambda: _phase(world) == "QUEUED")


def _prefill() -> World:
    world = _world(max_prefill_tokens=4)
    world.step([_job(JOB, 24)])
    return _until(world, lambda: _phase(world) == "PREFILL")


def _decoding() -> World:
    world = _world()
    world.step([_job(JOB, 24)])
    return _until(world, lambda: _phase(world) == "DECODE")


def _passed_by() -> World:
    """Preempted by a job that needs its place in the batch and no page of its own."""
    world = _decoding()
    world.step([_job(RIVAL, 4)])
    return _until(world, lambda: _phase(world) == "PREEMPTED")


def _leaving() -> World:
    """Preempted by a job that needs its pages. A neighbour runs, so no turn waits for the move."""
    world = _world(max_batch=2)
    world.step([_job(NEIGHBOUR, 4), _job(JOB, 24)])
    _until(world, lambda: _phase(world) == "DECODE")
    world.step([_job(RIVAL, 24)])
    return _until(world, lambda: _under_way(world, Direction.OUT))


def _on_the_host() -> World:
    world = _leaving()
    return _until(world, lambda: not world.state.ledger.tickets)


def _moving() -> World:
    world = _on_the_host()
    world.step([CancelRequested(RIVAL)])
    return _until(world, lambda: _under_way(world, Direction.IN))


ROWS = {
    "no prompt": (_without_prompt, "Waiting for its prompt", "Absent"),
    "queued": (_queued, "Queued", "Absent"),
    "prefill": (_prefill, "Prefill", "Resident"),
    "decoding": (_decoding, "Decoding", "Resident"),
    "passed by": (_passed_by, "Preempted", "Resident"),
    "leaving": (_leaving, "Preempted", "Leaving"),
    "on the host": (_on_the_host, "Preempted", "Host"),
    "moving": (_moving, "Moving", "Returning"),
}


def _end(world: World, how: FinishReason) -> list[Effect]:
    """End the job, and the others with it: all that is left is what the job still holds."""
    events: list[Event] = [CancelRequested(RIVAL), CancelRequested(NEIGHBOUR)]
    if how is FinishReason.CANCELLED:
        events.append(CancelRequested(JOB))
    else:
        world.clock.move_to(DEADLINE_NS)
    effects: list[Effect] = []
    intake.apply(world.state, events, world.clock.now_ns(), effects)
    return effects


@pytest.mark.parametrize("how", [FinishReason.CANCELLED, FinishReason.EXPIRED])
@pytest.mark.parametrize("name", ROWS)
def test_a_row_is_true(name: str, how: FinishReason) -> None:
    bring, engine_row, kv_row = ROWS[name]
    world = bring()
    ledger = world.state.ledger
    before = (ledger.device.in_flight, ledger.host.in_flight)
    ended = [one for one in _end(world, how) if isinstance(one, Finished) and one.handle == JOB]
    assert [one.reason for one in ended] == [how]
    assert not world.state.rows
    assert _cells(engine_row)[1:3] == ["told", "expired"]

    waits = _cells(kv_row)[0] == "orphaned"
    assert waits == (kv_row in ("Leaving", "Returning"))
    assert (ledger.device.in_flight, ledger.host.in_flight) == before
    assert bool(ledger.tickets) == waits, "only a move that has begun holds anything"
    assert ledger.device.free + before[0] == ledger.device.total
    assert ledger.host.free + before[1] == ledger.host.total
    world.drain()


def test_every_row_of_the_engine_is_played() -> None:
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    told = {line.split("|")[1].strip() for line in lines if "| told |" in line}
    assert told - {"With the engine"} == {engine_row for _, engine_row, _ in ROWS.values()}
