"""The dial of a policy is turned live: nothing that was learned is forgotten, a snapshot says where
it stands, and a record keeps it.
"""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from skipjoin.core.asked import Asked
from skipjoin.core.clock import ManualClock
from skipjoin.core.effects import Effect, LevelCause, LevelChanged, SnapshotGiven
from skipjoin.core.events import Event, PolicyChosen, SnapshotAsked, Submitted
from skipjoin.core.executor import ExecutorFacts
from skipjoin.core.ids import Handle
from skipjoin.core.policy import Dialled
from skipjoin.core.sampling import SamplingParams
from skipjoin.cost.profiles import load_profile
from skipjoin.engine.assemble import assemble
from skipjoin.engine.params import EngineParams
from skipjoin.engine.record import Recorder, RecordHeader, replay
from skipjoin.engine.record_lines import event_of, line_of
from skipjoin.engine.turn import Turn
from skipjoin.kvstore.params import KvParams
from skipjoin.scheduler.adaptive.policy import AdaptivePolicy
from skipjoin.scheduler.registry import DIAL_NAMES, POLICY_NAMES, make_policy
from skipjoin.sim.executor import SimExecutor

COST = load_profile("opt-13b-a100").model
FACTS = ExecutorFacts(1, 60, 120, 16, 16, None, 64)
CONFIGURED = 0.5


class Engine:
    """A simulated engine that is stepped by hand."""

    def __init__(self, policy: str, record: Path | None = None) -> None:
        params = EngineParams(max_batch=4, kv=KvParams(floor_pages=2), tail=CONFIGURED)
        recorder = None if record is None else Recorder(record, RecordHeader(policy, COST, FACTS, params))
        self.recorder = recorder
        self.clock = ManualClock(10)
        self.state = assemble(policy, COST, FACTS, params)
        self.turn = Turn(self.state, SimExecutor(COST, FACTS, self.clock), self.clock, recorder=recorder)
        self._numbers = random.Random(3)
        self._next = 1

    def step(self, *events: Event) -> tuple[Effect, ...]:
        return self.turn.step(events).effects

    def jobs(self, count: int) -> list[Event]:
        """Jobs of very different lengths."""
        made: list[Event] = []
        for _ in range(count):
            sampling = SamplingParams(max_new_tokens=self._numbers.choice([3, 8, 40, 150]), ignore_eos=True, seed=1)
            prompt = self._numbers.randint(4, 200)
            made.append(Submitted(Handle(self._next), prompt, Asked(sampling), self.clock.now_ns()))
            self._next += 1
        return made

    def drain(self) -> None:
        while self.turn.busy:
            self.turn.step()

    def snapshot(self) -> SnapshotGiven:
        (given,) = (effect for effect in self.step(SnapshotAsked(1)) if isinstance(effect, SnapshotGiven))
        return given


def learned() -> Engine:
    """An adaptive engine that knows some lengths, and has more jobs than places."""
    engine = Engine("adaptive")
    engine.step(*engine.jobs(20))
    engine.drain()
    engine.step(*engine.jobs(16))
    for _ in range(10):
        engine.step()
    assert isinstance(engine.state.policy, AdaptivePolicy)
    assert engine.state.policy.forecast.rebuilds > 0
    return engine


def test_turning_the_dial_forgets_nothing() -> None:
    engine = learned()
    policy = engine.state.policy
    assert isinstance(policy, AdaptivePolicy)
    rebuilds = policy.forecast.rebuilds
    tick = engine.state.tick(engine.clock.now_ns())
    places = [policy.key(handle, tick)[0] for handle in sorted(engine.state.rows)]
    effects = engine.step(PolicyChosen("adaptive", 0.1), SnapshotAsked(7))
    assert engine.state.policy is policy
    assert policy.forecast.rebuilds == rebuilds
    assert not [effect for effect in effects if isinstance(effect, LevelChanged) and effect.cause is LevelCause.POLICY]
    assert [policy.key(handle, tick)[0] for handle in sorted(engine.state.rows)] != places
    assert [effect.tail for effect in effects if isinstance(effect, SnapshotGiven)] == [0.1]
    engine.drain()
    assert not engine.state.rows


def test_a_switch_to_another_policy_and_back_forgets_no_lengths() -> None:
    engine = learned()
    before = engine.state.policy
    assert isinstance(before, AdaptivePolicy)
    engine.step(PolicyChosen("fcfs"))
    engine.step(PolicyChosen("adaptive"))
    after = engine.state.policy
    assert isinstance(after, AdaptivePolicy) and after is not before
    assert after.forecast is before.forecast
    assert after.forecast.rebuilds > 0
    engine.drain()
    assert not engine.state.rows


def test_a_policy_is_made_with_the_dial_that_was_asked_for_or_the_configured_one() -> None:
    engine = Engine("fcfs")
    assert engine.snapshot().tail is None
    for asked, stands in ((0.25, 0.25), (None, CONFIGURED), (0.0, 0.0)):
        engine.step(PolicyChosen("adaptive", asked))
        given = engine.snapshot()
        assert (given.policy, given.tail) == ("adaptive", stands)
        engine.step(PolicyChosen("skipjoin"))
        assert engine.snapshot().tail is None


@pytest.mark.parametrize("tail", [-0.1, 1.1, float("nan")])
@pytest.mark.parametrize("start", ["adaptive", "fcfs"])
def test_a_dial_out_of_bounds_changes_nothing(start: str, tail: float) -> None:
    engine = Engine(start)
    engine.step(*engine.jobs(8))
    before = engine.state.policy
    engine.step(PolicyChosen("adaptive", tail))
    assert engine.state.policy is before
    given = engine.snapshot()
    assert (given.policy, given.tail) == (start, CONFIGURED if start == "adaptive" else None)


def test_a_record_keeps_the_dial(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    engine = Engine("adaptive", path)
    engine.step(*engine.jobs(20))
    for _ in range(60):
        engine.step()
    engine.step(PolicyChosen("adaptive", 0.05), *engine.jobs(20))
    engine.drain()
    assert engine.recorder is not None
    engine.recorder.close()
    assert replay(path).first_difference is None
    text = path.read_text()
    assert text.count('"tail":0.05') == 1
    path.write_text(text.replace('"tail":0.05', '"tail":1.0'))
    assert replay(path).first_difference is not None


def test_lines_from_before_there_were_dials_and_priorities_are_read() -> None:
    chosen = event_of({"event": "PolicyChosen", "policy": "adaptive"})
    assert chosen == PolicyChosen("adaptive", None)
    given = Submitted(Handle(3), 5, Asked(SamplingParams(seed=1, max_new_tokens=2), -4), 7, earlier_output_tokens=9)
    line = json.loads(json.dumps(line_of(given)))
    again = event_of(line)
    assert isinstance(again, Submitted)
    assert (again.asked.priority, again.earlier_output_tokens) == (-4, 9)
    for name in ("priority", "earlier_output_tokens"):
        del line[name]
    old = event_of(line)
    assert isinstance(old, Submitted)
    assert (old.handle, old.prompt_tokens, old.asked.priority, old.earlier_output_tokens) == (3, 5, 0, 0)


def test_the_fingerprint_of_a_snapshot_is_what_it_was_before_it_told_the_dial() -> None:
    given = learned().snapshot()
    assert given.tail == CONFIGURED
    assert "tail" not in repr(given)


def test_those_with_a_dial_are_the_ones_that_are_named() -> None:
    assert tuple(name for name in POLICY_NAMES if isinstance(make_policy(name, COST), Dialled)) == DIAL_NAMES
