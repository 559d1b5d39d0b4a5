"""A recorded run replays with identical effects, and a changed record is found out."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest

from skipjoin.core.asked import Asked
from skipjoin.core.clock import ManualClock
from skipjoin.core.errors import InvalidInput, StoreUnavailable
from skipjoin.core.events import CancelRequested, Event, PolicyChosen, PromptArrived, SnapshotAsked, Submitted
from skipjoin.core.executor import ExecutorFacts
from skipjoin.core.ids import Handle
from skipjoin.core.sampling import SamplingParams
from skipjoin.cost.profiles import load_profile
from skipjoin.engine.assemble import assemble
from skipjoin.engine.params import EngineParams
from skipjoin.engine.record import Recorder, RecordHeader, measured_iterations, replay
from skipjoin.engine.turn import Turn
from skipjoin.kvstore.params import KvParams
from skipjoin.scheduler.params import LadderParams
from skipjoin.sim.executor import SimExecutor

FACTS = ExecutorFacts(3, 40, 60, 16, 16, None, 64)
PARAMS = EngineParams(max_batch=6, kv=KvParams(floor_pages=2), ladder=LadderParams())


def record_a_run(path: Path) -> int:
    cost = load_profile("opt-13b-a100").model
    clock = ManualClock(10)
    header = RecordHeader("skipjoin", cost, FACTS, PARAMS, frozenset({1}), (b"a", b"", b"bc"))
    recorder = Recorder(path, header)
    state = assemble("skipjoin", cost, FACTS, PARAMS, end_tokens=frozenset({1}), token_bytes=header.token_bytes)
    turn = Turn(state, SimExecutor(cost, FACTS, clock), clock, recorder=recorder)
    numbers = random.Random(5)
    turns = 0
    for handle in range(30):
        sampling = SamplingParams(max_new_tokens=numbers.randint(1, 60), ignore_eos=handle % 2 == 0, seed=handle)
        prompt = numbers.randint(1, 200)
        events: list[Event] = [
            Submitted(Handle(handle), prompt, Asked(sampling), clock.now_ns(), has_prompt=handle % 5 != 0),
            SnapshotAsked(handle),
        ]
        if handle % 5 == 0:
            events.append(PromptArrived(Handle(handle), np.zeros(prompt, dtype=np.int32)))
        if handle == 20:
            events += [CancelRequested(Handle(18)), PolicyChosen("fcfs")]
        turn.step(events)
        turns += 1
    while turn.busy:
        turn.step()
        turns += 1
    recorder.close()
    return turns


def test_a_record_replays(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    turns = record_a_run(path)
    assert path.stat().st_mode & 0o077 == 0
    report = replay(path)
    assert (report.turns, report.identical, report.first_difference) == (turns, turns, None)
    assert str(turns) in str(report)


def test_a_record_says_what_each_iteration_held_and_took(tmp_path: Path) -> None:
    """The executor takes what the model says, and nothing passes between turns: every row's time is
    the model's.
    """
    path = tmp_path / "run.jsonl"
    record_a_run(path)
    cost = load_profile("opt-13b-a100").model
    rows = measured_iterations(path)
    assert sum(len(row.chunks) for row in rows) >= 29
    for row in rows:
        assert row.measured_ns == cost.iteration_ns(row.chunks, row.decode_jobs, row.decode_contexts)
    changed = path.read_text().splitlines(keepends=True)
    changed[5] = changed[6]
    path.write_text("".join(changed))
    with pytest.raises(InvalidInput, match="does not replay"):
        measured_iterations(path)


def test_a_changed_token_count_is_found_out(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    record_a_run(path)
    lines = path.read_text().splitlines()
    changed = json.loads(lines[4])
    assert changed["events"][0]["event"] == "Submitted"
    changed["events"][0]["sampling"]["max_new_tokens"] += 1
    lines[4] = json.dumps(changed)
    path.write_text("\n".join(lines) + "\n")
    report = replay(path)
    assert report.first_difference is not None and report.identical == report.first_difference - 1
    assert "differs" in str(report)


def test_a_last_line_that_a_kill_cut_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    turns = record_a_run(path)
    path.write_bytes(path.read_bytes()[:-20])
    report = replay(path)
    assert (report.turns, report.identical, report.first_difference) == (turns - 1, turns - 1, None)


@pytest.mark.parametrize(
    "text", ["", "{", '{"format": 99}', "[]", "\xff\xfe"], ids=["empty", "cut", "format", "list", "bytes"]
)
def test_another_file_is_refused_by_name(tmp_path: Path, text: str) -> None:
    path = tmp_path / "other.jsonl"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(InvalidInput, match=r"other\.jsonl"):
        replay(path)


def test_a_broken_turn_is_named(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    record_a_run(path)
    lines = path.read_text().splitlines()
    lines[2] = '{"reads_ns": [1]}'
    path.write_text("\n".join(lines))
    with pytest.raises(InvalidInput, match="Line 3"):
        replay(path)


def test_a_folder_is_no_record(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput):
        replay(tmp_path)
    with pytest.raises(StoreUnavailable):
        Recorder(tmp_path, RecordHeader("fcfs", load_profile("opt-13b-a100").model, FACTS, PARAMS))
