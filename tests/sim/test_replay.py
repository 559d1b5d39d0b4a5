"""`skipjoin simulate --replay` as a person calls it: a record that holds, one that does not, and
files that are none.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from skipjoin.cli import main
from skipjoin.core.asked import Asked
from skipjoin.core.clock import ManualClock
from skipjoin.core.events import Event, Submitted
from skipjoin.core.executor import ExecutorFacts
from skipjoin.core.ids import Handle
from skipjoin.core.sampling import SamplingParams
from skipjoin.cost.profiles import load_profile
from skipjoin.engine.assemble import assemble
from skipjoin.engine.params import EngineParams
from skipjoin.engine.record import Recorder, RecordHeader
from skipjoin.engine.turn import Turn
from skipjoin.scheduler.params import LadderParams
from skipjoin.sim.executor import SimExecutor

FACTS = ExecutorFacts(
    generation=1, device_pages=24, host_pages=40, page_tokens=16, page_bytes=16, max_context_tokens=None, vocab_size=8
)
PARAMS = EngineParams(max_batch=4, ladder=LadderParams())
FLAGS = [
    *("--trace shape:azure-conv", "--policy fcfs", "--profile opt-13b-a100", "--load 1", "--rate 1", "--poisson"),
    *("--requests 5", "--warmup 0", "--max-batch 64", "--kv-tokens 64", "--host-kv-tokens 64"),
    *("--starvation granted", "--seed 0"),
]
"""Every flag of a workload; some say what they would be by themselves, and are refused all the
same.
"""


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The lines of a run of twelve jobs in a pool that three of them fill."""
    path = tmp_path_factory.mktemp("record") / "run.jsonl"
    cost, clock = load_profile("opt-13b-a100").model, ManualClock(7)
    recorder = Recorder(path, RecordHeader("skipjoin", cost, FACTS, PARAMS))
    turn = Turn(assemble("skipjoin", cost, FACTS, PARAMS), SimExecutor(cost, FACTS, clock), clock, recorder=recorder)
    for number in range(12):
        sampling = SamplingParams(max_new_tokens=5 + number * 7 % 40, ignore_eos=True, seed=number)
        arrived: list[Event] = [Submitted(Handle(number), 40 + number * 31 % 90, Asked(sampling), clock.now_ns())]
        turn.step(arrived)
    while turn.busy:
        turn.step()
    recorder.close()
    return path.read_text().splitlines()


def _put(folder: Path, lines: list[str]) -> str:
    path = folder / "run.jsonl"
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def test_a_record_holds(recorded: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, out = _put(tmp_path, recorded), tmp_path / "report.json"
    turns = len(recorded) - 1
    assert main(["simulate", "--replay", file, "--json", str(out)]) == 0
    heard = capsys.readouterr()
    assert heard.out == f"{turns} turns of skipjoin replayed with identical effects.\n"
    assert heard.err == ""
    expected = {"policy": "skipjoin", "turns": turns, "identical": turns, "first_difference": None}
    assert json.loads(out.read_text()) == expected
    assert main(["simulate", "--replay", file, "--json", "-"]) == 0
    assert json.loads(capsys.readouterr().out) == expected


def test_the_first_turn_that_differs_is_named(
    recorded: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changed = json.loads(recorded[20])
    changed["digest"] = changed["digest"][::-1]
    file = _put(tmp_path, [*recorded[:20], json.dumps(changed), *recorded[21:]])
    assert main(["simulate", "--json", "-", "--replay", file]) == 1
    assert json.loads(capsys.readouterr().out) == {
        "policy": "skipjoin",
        "turns": len(recorded) - 1,
        "identical": 19,
        "first_difference": 20,
    }
    assert main(["simulate", "--replay", file]) == 1
    assert "turn 20 is the first that differs" in capsys.readouterr().out


@pytest.mark.parametrize("words", FLAGS)
def test_a_record_brings_its_own_workload(
    words: str, recorded: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flag, *value = words.split()
    assert main(["simulate", "--replay", _put(tmp_path, recorded), flag, *value]) == 2
    heard = capsys.readouterr()
    assert f"leave out {flag} beside --replay" in heard.err
    assert heard.out == ""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "cannot be read: No such file"),
        (b"", "does not begin like a record"),
        (b"arrival_s,prompt_tokens\n", "does not begin like a record"),
        (b'{"format": 1, "policy": "skipjoin"}\n', "does not begin like a record"),
        (b"\xff\xfe\x00", "does not begin like a record"),
    ],
    ids=["missing", "empty", "csv", "half a header", "bytes"],
)
def test_what_is_no_record(text: bytes | None, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "other.jsonl"
    if text is not None:
        path.write_bytes(text)
    assert main(["simulate", "--replay", str(path)]) == 2
    heard = capsys.readouterr()
    assert f"other.jsonl {said}" in heard.err
    assert str(tmp_path) not in heard.err
    assert main(["simulate", "--replay", str(tmp_path)]) == 2
    assert "cannot be read: Is a directory" in capsys.readouterr().err


def test_a_broken_line_is_named(recorded: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", "--replay", _put(tmp_path, [*recorded[:9], recorded[9][:40]])]) == 2
    assert "Line 10 of run.jsonl is not JSON" in capsys.readouterr().err
    assert main(["simulate", "--replay", _put(tmp_path, [*recorded[:9], '{"reads_ns": [1]}'])]) == 2
    assert "Line 10 of run.jsonl is not a turn" in capsys.readouterr().err


def test_a_report_that_cannot_be_written(
    recorded: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = _put(tmp_path, recorded)
    assert main(["simulate", "--replay", file, "--json", str(tmp_path / "none" / "out.json")]) == 2
    assert "out.json is no place to write a file" in capsys.readouterr().err


def test_whatever_was_done_to_a_record_a_sentence_comes_of_it(
    recorded: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    codes = set()
    for seed in range(100):
        numbers = random.Random(seed)
        lines = list(recorded)
        at, other = numbers.randrange(len(lines)), numbers.randrange(1, len(lines))
        match numbers.randrange(4):
            case 0:
                del lines[at]
            case 1:
                lines[at], lines[other] = lines[other], lines[at]
            case _:
                lines[at] = json.dumps(_spoilt(json.loads(lines[at]), numbers))
        code = main(["simulate", "--replay", _put(tmp_path, lines)])
        heard = capsys.readouterr()
        assert len((heard.out + heard.err).splitlines()) == 1, seed
        assert ("differs" in heard.out) == (code == 1) and ("run.jsonl" in heard.err) == (code == 2), heard.err
        codes.add(code)
    assert codes >= {1, 2}


def _spoilt(line: dict[str, Any], numbers: random.Random) -> dict[str, Any]:
    """The same line with one value anywhere in it left out or replaced."""
    places: list[tuple[Any, Any]] = []

    def walk(node: Any) -> None:
        inside = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
        for key, value in inside:
            places.append((node, key))
            walk(value)

    walk(line)
    node, key = numbers.choice(places)
    if numbers.random() < 0.3:
        del node[key]
    else:
        node[key] = numbers.choice([None, -1, 0, 3, 2**70, 3.5, 1e308, "x", True, [], [1], [[]], {}])
    return line
