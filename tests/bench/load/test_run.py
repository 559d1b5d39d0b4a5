"""One live run: which requests at what rate, the drain before it, and its JSON."""

from __future__ import annotations

import asyncio
import json
from dataclasses import fields, replace
from pathlib import Path

import pytest
from measured import Said, VirtualTarget

from skipjoin.bench.load.command import LoadQuestion, LoadStudy, study_load
from skipjoin.bench.load.loops import Answered, Asked
from skipjoin.core.clock import MonotonicClock
from skipjoin.core.errors import InvalidInput, InvalidSettings, Unavailable
from skipjoin.cost.profiles import load_profile
from skipjoin.workload.statistics import RunResult

CLOCK = MonotonicClock()
SHAPE = LoadQuestion("shape:azure-conv", requests=20, rate=2_000.0, vocab_size=32)


def _answer(question: LoadQuestion, said: Said, target: VirtualTarget | None = None) -> LoadStudy:
    target = target or VirtualTarget(CLOCK)
    study = asyncio.run(study_load(question, "made up", target, CLOCK, said))
    assert not said.open
    return study


@pytest.fixture
def trace(tmp_path: Path) -> str:
    """Five requests in 40 ms."""
    path = tmp_path / "few.csv"
    path.write_text("arrival_s,prompt_tokens,output_tokens\n0,3,5\n0.01,4,2\n0.02,900,1\n0.03,5,4\n0.04,6,3\n")
    return str(path)


def test_the_json_of_a_run(said: Said) -> None:
    profile = load_profile("opt-13b-a100")
    told = _answer(replace(SHAPE, warmup=5, seed=3, profile=profile), said).as_json()
    told = json.loads(json.dumps(told, allow_nan=False))
    assert list(told) == [
        *("trace", "target", "seed", "rate_per_s", "drain_rate_per_s", "load"),
        *("lag_p99_ms", "lag_max_ms", "trustworthy", "failed", "failures", "results"),
    ]
    assert (told["target"], told["seed"], told["failed"], told["failures"]) == ("made up", 3, 0, {})
    assert told["rate_per_s"] == pytest.approx(2_000.0)
    assert (told["drain_rate_per_s"], told["load"]) == (None, None)
    assert told["trustworthy"] is (told["lag_p99_ms"] <= 25)
    (figures,) = told["results"]
    assert list(figures) == [field.name for field in fields(RunResult)]
    assert (figures["policy"], figures["requests"]) == ("skipjoin", 20)
    assert 0 < figures["max_slowdown"] < 1  # answered at once, faster than the profile thinks possible
    assert said.runs == [("load on made up", 25)]
    assert said.ended_jobs == 25


def test_a_trace_keeps_its_arrivals_unless_told(trace: str, said: Said) -> None:
    seen: list[int] = []

    def answered(asked: Asked, usual: Answered) -> Answered:
        seen.append(len(asked.prompt))
        return usual

    study = _answer(LoadQuestion(trace, max_tokens=500), said, VirtualTarget(CLOCK, answer=answered))
    assert seen == [3, 4, 5, 6]
    assert study.rate_per_s == pytest.approx(4 / 0.04)
    assert (study.result.requests, study.result.refused) == (4, 1)
    assert any("1 requests are larger than --max-tokens" in note for note in said.notes)
    halved = _answer(LoadQuestion(trace, scale_lengths=0.5, rate=1000.0), said)
    assert halved.rate_per_s == pytest.approx(1000.0)
    assert halved.result.requests == 5


def test_the_drain_rate_is_measured_first(said: Said) -> None:
    def one_after_the_other(asked: Asked, usual: Answered) -> Answered:
        return replace(usual, end_ns=usual.end_ns + asked.number * 10_000_000)

    target = VirtualTarget(CLOCK, answer=one_after_the_other)
    study = _answer(replace(SHAPE, rate=None, load=2.0), said, target)
    assert study.drain_rate_per_s == pytest.approx(100, rel=0.2)
    assert study.rate_per_s == pytest.approx(2 * study.drain_rate_per_s)  # type: ignore[operator]
    assert study.load == 2.0
    assert said.runs == [("drain", 20), ("load on made up", 20)]
    assert any("drain rate" in note for note in said.notes)


def test_a_drain_rate_that_is_given_is_not_measured(said: Said) -> None:
    study = _answer(replace(SHAPE, rate=None, load=2.0, drain_rate=500.0), said)
    assert (study.drain_rate_per_s, study.rate_per_s) == (500.0, pytest.approx(1000.0))
    assert said.runs == [("load on made up", 20)]


def test_failures_are_counted_by_their_words(said: Said) -> None:
    def answered(asked: Asked, usual: Answered) -> Answered:
        word = {0: "warm", 1: "a", 2: "b", 3: "b"}.get(asked.number)
        return usual if word is None else Answered(None, usual.end_ns, 0, word)

    study = _answer(replace(SHAPE, warmup=1), said, VirtualTarget(CLOCK, answer=answered))
    assert study.failures == {"b": 2, "a": 1}
    assert next(iter(study.failures)) == "b"
    assert study.as_json()["failed"] == 3
    assert study.result.requests == 17


def test_a_run_in_which_none_succeeds_is_no_measurement(said: Said) -> None:
    def answered(asked: Asked, usual: Answered) -> Answered:
        return Answered(None, usual.end_ns, 0, "DENIED: who are you")

    with pytest.raises(Unavailable, match="Not one of 20 requests succeeded; the first: DENIED"):
        _answer(SHAPE, said, VirtualTarget(CLOCK, answer=answered))
    assert not said.open


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"load": 0.0}, "load"),
        ({"load": float("nan")}, "load"),
        ({"load": 101.0}, "load"),
        ({"drain_rate": 0.0}, "drain-rate"),
        ({"drain_rate": float("inf")}, "drain-rate"),
        ({"rate": 0.0}, "rate"),
        ({"rate": float("nan")}, "rate"),
        ({"rate": None}, "rate"),
        ({"vocab_size": 0}, "vocab-size"),
        ({"vocab_size": 2**31}, "vocab-size"),
        ({"max_tokens": 1}, "max-tokens"),
        ({"requests": 0}, "requests"),
        ({"warmup": -1}, "warmup"),
        ({"scale_lengths": 0.0}, "scale_lengths"),
        ({"scale_lengths": float("nan")}, "scale_lengths"),
        ({"seed": -1}, "seed"),
        ({"trace": "shape:nobody"}, "trace"),
    ],
)
def test_what_cannot_be_asked_is_refused_before_anything_is_sent(
    wrong: dict[str, object], field: str, said: Said
) -> None:
    target = VirtualTarget(CLOCK)
    with pytest.raises(InvalidInput) as caught:
        _answer(replace(SHAPE, **wrong), said, target)  # type: ignore[arg-type]
    assert caught.value.field == field
    assert target.asked == []


def test_arrivals_at_one_instant_have_no_rate(tmp_path: Path, said: Said) -> None:
    path = tmp_path / "once.csv"
    path.write_text("arrival_s,prompt_tokens,output_tokens\n0,3,5\n0,4,2\n")
    with pytest.raises(InvalidSettings, match="--poisson"):
        _answer(LoadQuestion(str(path), rate=5.0), said)
    assert _answer(LoadQuestion(str(path), rate=500.0, poisson=True), said).rate_per_s == pytest.approx(500.0)
