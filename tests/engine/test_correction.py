"""A live engine corrects its cost model by what iterations take: later predictions only, never a
quantum, never a charge.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from skipjoin.core.asked import Asked
from skipjoin.core.clock import ManualClock
from skipjoin.core.effects import TurnEffects
from skipjoin.core.events import Event, PolicyChosen, Submitted
from skipjoin.core.executor import ExecutorFacts
from skipjoin.core.ids import Handle
from skipjoin.core.outcome import IterationOutcome
from skipjoin.core.sampling import SamplingParams
from skipjoin.cost.exact import BaseCost
from skipjoin.cost.linear import LinearCostModel
from skipjoin.cost.online import CorrectedCostModel
from skipjoin.cost.table import Curve, Grid, TableCostModel
from skipjoin.engine.assemble import assemble
from skipjoin.engine.params import EngineParams
from skipjoin.engine.record import Recorder, RecordHeader, replay
from skipjoin.engine.turn import Turn
from skipjoin.kvstore.params import KvParams
from skipjoin.scheduler.mlfq import MlfqPolicy
from skipjoin.sim.executor import SimExecutor

FACTS = ExecutorFacts(1, 40, 60, 16, 16, None, 64)
PARAMS = EngineParams(max_batch=4, kv=KvParams(floor_pages=2))
PROFILE = LinearCostModel(2e7, 1e5, 7.0, 90.0, 3e4, 1e3)
TABLES = TableCostModel(
    tokens=Curve((1, 256, 2048), (1e6 / 3, 2e6, 2e7)),
    sequences=Curve((1, 64), (1e5, 2e5)),
    prefill=Grid((16, 2048), (0, 4096), ((1e4, 5e4), (4e6, 2e7))),
    decode=Grid((1, 64), (16, 1000, 4096), ((1e4, 3e4, 1e5), (2e5, 1e6, 4e6))),
    beside=Grid((1, 64), (16, 4096), ((5e4, 4e5), (9e5, 9e6))),
    step_ns=5e5,
    move_token_ns=7.5,
)
SLOWER = 2.5


class World:
    """An engine that believes `cost`, over an executor that takes SLOWER times as long."""

    def __init__(self, cost: BaseCost = PROFILE, policy: str = "skipjoin", record: Path | None = None) -> None:
        self.clock = ManualClock(10)
        self.header = RecordHeader(policy, cost, FACTS, PARAMS, corrected=True)
        self.state = assemble(policy, self.header.engine_cost(), FACTS, PARAMS)
        assert isinstance(self.state.cost, CorrectedCostModel)
        self.cost = self.state.cost
        self.recorder = None if record is None else Recorder(record, self.header)
        self.executor = SimExecutor(cost, FACTS, self.clock, scale=SLOWER)
        self.submitted = 0
        self.turn = Turn(self.state, self.executor, self.clock, recorder=self.recorder)

    def jobs(self, count: int) -> list[Event]:
        now_ns, first = self.clock.now_ns(), self.submitted
        self.submitted += count
        return [
            Submitted(Handle(first + n), 20 + n * 31 % 90,
             Asked(SamplingParams(max_new_tokens=5 + n * 7 % 40, ignore_eos=True, seed=n)), now_ns)
            for n in range(count)
        ]  # fmt: skip

    def drain(self, *events: Event) -> list[TurnEffects]:
        told = [self.turn.step(events)]
        while self.turn.busy:
            told.append(self.turn.step())
        return told

    @property
    def seen(self) -> int:
        return self.cost.correction.observations


def test_iterations_are_learned_and_the_predictions_of_later_ones_come_near() -> None:
    world = World()
    told = [turn.stats for _ in range(8) for turn in world.drain(*world.jobs(12))]
    pairs = [(one.predicted_ns, one.measured_ns) for one in told if one.measured_ns is not None]
    assert world.seen == len(pairs) > 500
    assert world.cost.correction.factor == pytest.approx(SLOWER, rel=0.1)
    assert [predicted / measured for predicted, measured in pairs[:2] if predicted] == pytest.approx(
        [0.4, 0.4], rel=0.1
    )
    assert [predicted / measured for predicted, measured in pairs[-2:] if predicted] == pytest.approx([1, 1], rel=0.1)


def test_charges_are_what_was_predicted_at_launch_and_never_what_was_measured() -> None:
    world = World()
    world.turn.step(world.jobs(3))
    factors = set()
    for _ in range(60):
        factor, before_ns = world.cost.correction.factor, world.state.decode_ns
        effects = world.turn.step()
        if effects.stats.measured_ns is None or effects.stats.prefill_tokens or not effects.stats.decode_jobs:
            continue
        charged_ns = world.state.decode_ns - before_ns
        # The factor of the launch: what this very iteration taught has no part in its charge.
        assert charged_ns == effects.stats.predicted_ns
        assert charged_ns < effects.stats.measured_ns
        # two tokens of context for each member, one way or the other, are nothing beside a
        # thousandth
        plain_ns = PROFILE.decode_ns(effects.stats.decode_jobs, world.state.planner.books.running.context_sum)
        assert charged_ns == pytest.approx(plain_ns * factor, rel=1e-3)
        factors.add(factor)
    assert len(factors) > 10


@pytest.mark.parametrize("chosen", ["skipjoin", "mlfq", "adaptive"])
def test_quanta_are_those_of_the_start_even_of_a_policy_chosen_later(chosen: str) -> None:
    world = World()
    for _ in range(4):
        world.drain(*world.jobs(12))
    assert world.cost.decode_ns(1, 0) > 1.5 * PROFILE.decode_ns(1, 0)
    world.turn.step([PolicyChosen("fcfs")])
    world.turn.step([PolicyChosen(chosen)])
    policy = world.state.policy
    assert policy.name == chosen
    quantum_ns = policy.ladder.quantum_ns(1)  # type: ignore[attr-defined]
    assert quantum_ns == PROFILE.decode_ns(1, 0)
    assert isinstance(policy, MlfqPolicy) or chosen == "adaptive"


def test_an_idle_gap_teaches_nothing() -> None:
    world = World()
    world.drain(*world.jobs(4))
    seen, factor = world.seen, world.cost.correction.factor
    world.clock.move_to(world.clock.now_ns() + 3_600 * 10**9)
    assert world.turn.step().stats.measured_ns is None
    assert (world.seen, world.cost.correction.factor) == (seen, factor)
    world.drain(*world.jobs(1))
    # The iterations after it are learned by their own times, not by the hour before them.
    assert world.seen > seen
    assert world.cost.correction.factor == pytest.approx(factor, rel=0.1)


def test_an_answer_of_another_generation_teaches_nothing() -> None:
    world = World()
    world.turn.step(world.jobs(2))
    assert world.seen == 1
    plan = world.turn.decide([])
    assert plan is not None
    assert plan.computes
    void = IterationOutcome(
        plan.seq, plan.generation + 1, 0, 10**12, np.array([], dtype=np.int64), np.array([], dtype=np.int32)
    )
    assert world.turn.settle(void).stats.measured_ns is None
    assert world.seen == 1


def test_a_profile_without_the_flag_stays_as_it_is() -> None:
    header = RecordHeader("skipjoin", PROFILE, FACTS, PARAMS)
    assert header.engine_cost() is PROFILE


@pytest.mark.parametrize("cost", [PROFILE, TABLES], ids=["coefficients", "tables"])
@pytest.mark.parametrize("policy", ["skipjoin", "adaptive"])
def test_a_corrected_run_replays_and_only_with_the_correction(cost: BaseCost, policy: str, tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    world = World(cost, policy, path)
    turns = len(world.drain(*world.jobs(12))) + len(world.drain(*world.jobs(24)))
    assert world.recorder is not None
    world.recorder.close()
    assert world.cost.correction.factor > 1.5
    report = replay(path)
    assert (report.turns, report.identical, report.first_difference) == (turns, turns, None)

    lines = path.read_text().splitlines()
    header = json.loads(lines[0])
    assert RecordHeader.from_json(header) == world.header
    path.write_text("\n".join([json.dumps(header | {"corrected": False}), *lines[1:]]) + "\n")
    assert replay(path).first_difference is not None


def test_a_record_of_the_first_format_is_still_read() -> None:
    header = replace(World().header, corrected=False)
    line = header.to_json()
    del line["corrected"]
    del line["cost"]["kind"]
    assert RecordHeader.from_json(json.loads(json.dumps(line | {"format": 1}))) == header


def test_a_record_from_before_iterations_had_a_length_of_their_own_is_read_without_one() -> None:
    line = json.loads(json.dumps(World().header.to_json()))
    assert RecordHeader.from_json(line).params.iteration_ms == PARAMS.iteration_ms > 0
    del line["params"]["iteration_ms"]
    del line["params"]["run_ahead"]
    old = RecordHeader.from_json(line).params
    assert (old.iteration_ms, old.run_ahead) == (0.0, False)


@pytest.mark.parametrize("spoil", [{"corrected": 1}, {"corrected": None}, {"format": 3}])
def test_a_header_that_says_it_otherwise_is_none(spoil: dict[str, object]) -> None:
    line = World().header.to_json()
    with pytest.raises((KeyError, TypeError, ValueError)):
        RecordHeader.from_json(line | spoil)
    del line["corrected"]
    with pytest.raises(KeyError):
        RecordHeader.from_json(line)
