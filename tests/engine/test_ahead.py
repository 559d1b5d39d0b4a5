"""An engine that runs ahead: two plans in flight while nothing changes, the same tokens, and
nothing decided on what is not known yet.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from skipjoin.core.asked import Asked
from skipjoin.core.clock import ManualClock
from skipjoin.core.effects import Finished, TurnEffects
from skipjoin.core.events import CancelRequested, Event, Submitted
from skipjoin.core.executor import ExecutorFacts
from skipjoin.core.ids import Handle
from skipjoin.core.job import FinishReason
from skipjoin.core.plan import Int32s, IterationPlan
from skipjoin.core.sampling import SamplingParams
from skipjoin.cost.linear import LinearCostModel
from skipjoin.engine.assemble import assemble
from skipjoin.engine.invariants import check
from skipjoin.engine.params import EngineParams
from skipjoin.engine.record import Recorder, RecordHeader, replay
from skipjoin.engine.turn import DEPTH_AHEAD, Turn
from skipjoin.kvstore.params import KvParams
from skipjoin.sim.executor import SimExecutor

COST = LinearCostModel(2e7, 1e5, 7.0, 90.0, 3e4, 1e3)
END = 0
STOPS_AT = {3: 5, 4: 11}
"""The output position at which these jobs emit the end token."""


class Tokens:
    """A token says its job and place; some jobs end themselves."""

    def __init__(self) -> None:
        self.prompts: dict[int, int] = {}

    def admit(self, handle: Handle, seed: int, prompt_tokens: int) -> None:
        self.prompts[handle] = prompt_tokens

    def drop(self, handle: Handle) -> None:
        del self.prompts[handle]

    def draw(self, handles: Sequence[int], known_tokens: Sequence[int]) -> Int32s:
        at = [known - self.prompts[handle] for handle, known in zip(handles, known_tokens, strict=True)]
        return np.array([token_of(handle, place) for handle, place in zip(handles, at, strict=True)], dtype=np.int32)


def token_of(handle: int, place: int) -> int:
    return END if STOPS_AT.get(handle) == place else 1 + (handle * 131 + place * 7) % 60


class World:
    """Notes what was launched, with how many plans in flight, and what was said."""

    def __init__(
        self, *, ahead: bool = True, batch: int = 4, pages: int = 60, record: Path | None = None, scale: float = 1.0
    ) -> None:
        self.facts = ExecutorFacts(1, pages, 60, 16, 16, None, 64)
        params = EngineParams(max_batch=batch, kv=KvParams(floor_pages=1), run_ahead=ahead)
        self.clock = ManualClock(10)
        header = RecordHeader("fcfs", COST, self.facts, params, frozenset({END}), corrected=True)
        self.cost = header.engine_cost()
        self.state = assemble("fcfs", self.cost, self.facts, params, end_tokens=frozenset({END}))
        self.executor = SimExecutor(COST, self.facts, self.clock, source=Tokens(), scale=scale)
        self.recorder = None if record is None else Recorder(record, header)
        self.turn = Turn(self.state, self, self.clock, recorder=self.recorder)
        self.unanswered = self.most = self.computed = 0
        self.submitted_ns: deque[int] = deque()
        self.said: dict[int, list[int]] = {}
        self.ends: dict[int, Finished] = {}
        self.told: list[TurnEffects] = []

    # the executor that the engine sees
    # ------------------------------------------------------------------------
    def start(self) -> ExecutorFacts:
        return self.facts

    def submit(self, plan: IterationPlan) -> None:
        again = not (plan.prefills or plan.admits or plan.tables or plan.moves or plan.dropped)
        assert self.unanswered == 0 or again, "only the unchanged batch is launched beside another plan"
        self.unanswered += 1
        self.most = max(self.most, self.unanswered)
        self.computed += len(plan.decode) + sum(chunk.last for chunk in plan.prefills)
        self.submitted_ns.append(self.clock.now_ns())
        self.executor.submit(plan)

    def poll(self, timeout_ns: int | None):
        """As a device answers, which knows when a plan was given to it and not when it came to it."""
        self.unanswered -= 1
        outcome = self.executor.poll(timeout_ns)
        return None if outcome is None else replace(outcome, started_ns=self.submitted_ns.popleft())

    def close(self) -> None:
        self.executor.close()

    # what happens
    # ---------------------------------------------------------------------------------------------
    def job(self, handle: int, new: int, *, prompt: int = 20) -> Event:
        sampling = SamplingParams(max_new_tokens=new, seed=handle)
        return Submitted(
            Handle(handle), prompt, Asked(sampling), self.clock.now_ns(), prompt=np.ones(prompt, dtype=np.int32)
        )

    def step(self, *events: Event) -> TurnEffects:
        effects = self.turn.step(events)
        check(self.state, self.clock.now_ns())
        self.told.append(effects)
        if effects.tokens is not None:
            columns = (
                effects.tokens.handles.tolist(),
                effects.tokens.positions.tolist(),
                effects.tokens.tokens.tolist(),
            )
            for handle, position, token in zip(*columns, strict=True):
                assert handle not in self.ends, "a job speaks after its end"
                said = self.said.setdefault(handle, [])
                assert position == len(said)
                said.append(token)
        for effect in effects.effects:
            if isinstance(effect, Finished):
                assert effect.output_tokens == len(self.said.get(effect.handle, []))
                self.ends[effect.handle] = effect
        return effects

    def drain(self, *events: Event) -> None:
        self.step(*events)
        while self.turn.busy:
            self.step()

    def until_ahead(self) -> None:
        """On to a turn between two answers, with a plan in flight."""
        for _ in range(50):
            self.step()
            if self.unanswered == 1 and self.told[-1].tokens is not None:
                return
        raise AssertionError("it never ran ahead")


def natural(handle: int, new: int) -> list[int]:
    length = min(new, STOPS_AT.get(handle, new) + 1)
    return [token_of(handle, place) for place in range(length)]


@pytest.mark.parametrize("ahead", [False, True])
def test_every_job_says_what_it_would_say_alone(ahead: bool) -> None:
    world = World(ahead=ahead)
    asked = {handle: 6 + handle * 5 % 23 for handle in range(9)}
    world.drain(*(world.job(handle, new) for handle, new in asked.items()))
    assert world.said == {handle: natural(handle, new) for handle, new in asked.items()}
    assert {h: end.reason for h, end in world.ends.items()} == {
        h: FinishReason.STOP if STOPS_AT.get(h, 99) < asked[h] else FinishReason.LENGTH for h in asked
    }
    assert world.most == (DEPTH_AHEAD if ahead else 1)


def test_lengths_are_known_before_and_cost_nothing_an_end_token_costs_one_more() -> None:
    world = World()
    world.drain(world.job(0, 9), world.job(1, 30), world.job(2, 17))
    assert world.most == DEPTH_AHEAD
    assert world.computed == 9 + 30 + 17
    world = World()
    world.drain(world.job(3, 40), world.job(1, 30))
    assert world.most == DEPTH_AHEAD
    assert world.computed == len(natural(3, 40)) + 30 + 1


def test_steady_iterations_leave_the_executor_nothing_to_wait_for() -> None:
    world = World()
    world.step(world.job(0, 60), world.job(1, 60))
    world.until_ahead()
    # The clock stands while the engine thinks; busy from one answer to the next, iteration after
    # iteration.
    for _ in range(30):
        world.step()
        assert world.unanswered == 1


@pytest.mark.parametrize("what", ["cancel", "expire"])
def test_an_end_from_outside_counts_the_tokens_that_came(what: str) -> None:
    world = World()
    late = world.job(1, 60)
    assert isinstance(late, Submitted)
    world.step(world.job(0, 60), late)
    world.until_ahead()
    said = len(world.said[0])
    world.step(CancelRequested(Handle(0)))
    assert world.ends[0].output_tokens == said == len(world.said[0])
    assert world.unanswered == 0  # somebody left: it is decided anew when the answer is there
    world.drain()
    assert world.said[1] == natural(1, 60)


def test_an_arrival_is_in_the_batch_two_answers_later() -> None:
    world = World()
    world.step(world.job(0, 60))
    world.until_ahead()
    world.step(world.job(1, 60))
    assert world.unanswered == 0
    prompt = world.step()
    assert prompt.stats.prefill_tokens == 20


def test_what_was_launched_early_is_measured_from_the_end_of_the_one_before() -> None:
    slow = 2.5
    world = World(scale=slow)
    for handle in range(5, 30):
        world.drain(world.job(handle, 40), world.job(handle + 100, 40))
    assert world.most == DEPTH_AHEAD
    seen = [one.stats for one in world.told if one.stats.measured_ns is not None]
    assert len(seen) == len({one.seq for one in seen}) > 900
    assert world.state.corrected is not None
    assert world.state.corrected.correction.observations == len(seen)
    assert world.state.corrected.correction.factor == pytest.approx(slow, rel=0.1)
    last = [one for one in seen[-50:] if one.predicted_ns is not None]
    assert all(one.measured_ns == pytest.approx(one.predicted_ns, rel=0.1) for one in last)
    # Every plan was begun once, whatever turn said it.
    assert sum(one.stats.prefill_tokens for one in world.told) == 25 * 40


def test_a_record_replays_and_only_running_ahead(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    world = World(record=path)
    world.drain(*(world.job(handle, 6 + handle * 5 % 23) for handle in range(9)))
    assert world.most == DEPTH_AHEAD
    assert world.recorder is not None
    world.recorder.close()
    report = replay(path)
    assert report.first_difference is None
    assert report.turns == len(world.told)
    lines = path.read_text()
    path.write_text(
        lines.replace('"run_ahead": true', '"run_ahead": false').replace('"run_ahead":true', '"run_ahead":false')
    )
    assert replay(path).first_difference is not None
