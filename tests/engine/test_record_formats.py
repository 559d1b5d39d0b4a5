"""Records that older versions wrote, kept in tests/golden/formats, are read with every value as it
was written.

Whether they replay with identical effects is not asked: a scheduler may decide otherwise than its
older self.
"""

from __future__ import annotations

import json
from dataclasses import astuple
from pathlib import Path
from typing import Any

import pytest

from skipjoin.core.asked import Asked
from skipjoin.core.events import CancelRequested, Submitted
from skipjoin.core.executor import ExecutorFacts
from skipjoin.core.sampling import SamplingParams
from skipjoin.cost.linear import LinearCostModel
from skipjoin.engine.record import RecordHeader, replay
from skipjoin.engine.record_lines import event_of, outcome_of
from skipjoin.engine.recording import READ_FORMATS

FORMATS = Path(__file__).parents[1] / "golden" / "formats"
COST = LinearCostModel(19930000.0, 101900.0, 7.119999999999999, 627.0, 38500.0, 37236.36363636364)
FACTS = ExecutorFacts(
    generation=1, device_pages=6, host_pages=3, page_tokens=16, page_bytes=13107200, max_context_tokens=None,
    vocab_size=257
)  # fmt: skip
RECORDS: dict[str, dict[str, Any]] = {
    "record-format-1": {
        "format": 1, "policy": "skipjoin", "corrected": False, "iteration_ms": 0.0, "learned": None,
        "first": (1, 11, 0, 6, 4858121509157), "tokens": [53, 61], "handles": [2, 3], "started_ns": 4858167561374,
    },
    "record-format-2-first": {
        "format": 2, "policy": "skipjoin", "corrected": False, "iteration_ms": 0.0, "learned": None,
        "first": (1, 44, 3, 15, 4879405073772), "tokens": [34, 53], "handles": [1, 2], "started_ns": 4879431592047,
    },
    "record-format-2": {
        "format": 2, "policy": "adaptive", "corrected": True, "iteration_ms": 75.0, "learned": 23206,
        "first": (1, 11, 0, 6, 4862069272762), "tokens": [236, 53], "handles": [1, 2], "started_ns": 4862082639220,
    },
}  # fmt: skip


def _lines(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (FORMATS / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]


def test_every_format_that_is_read_is_kept() -> None:
    assert {wanted["format"] for wanted in RECORDS.values()} == set(READ_FORMATS)


@pytest.mark.parametrize("name", RECORDS)
def test_the_header(name: str) -> None:
    wanted = RECORDS[name]
    line = _lines(name)[0]
    header = RecordHeader.from_json(line)
    assert (line["format"], header.policy, header.corrected) == (
        wanted["format"],
        wanted["policy"],
        wanted["corrected"],
    )
    assert (header.cost, header.facts) == (COST, FACTS)
    params = header.params
    assert (params.max_batch, params.max_prefill_tokens, params.iteration_ms) == (2, 2048, wanted["iteration_ms"])
    assert (params.starvation, params.tail, params.run_ahead, params.ladder) == ("granted", 0.65, False, None)
    assert astuple(params.kv)[:6] == ("proactive", 16, 0, 0.02, 4, 32)
    assert header.end_tokens == {256}
    assert header.token_bytes is not None
    assert header.token_bytes[:256] == tuple(bytes([value]) for value in range(256))
    assert (None if header.learned is None else len(header.learned)) == wanted["learned"]


@pytest.mark.parametrize("name", RECORDS)
def test_events_and_outcomes(name: str) -> None:
    wanted = RECORDS[name]
    turns = _lines(name)[1:]
    events = [event_of(line) for turn in turns for line in turn["events"]]
    handle, prompt_tokens, seed, new_tokens, arrival_ns = wanted["first"]
    first = Submitted(
        handle=handle,
        prompt_tokens=prompt_tokens,
        asked=Asked(
            SamplingParams(seed=seed, max_new_tokens=new_tokens, ignore_eos=True, logprobs=1 if seed == 3 else None)
        ),
        arrival_ns=arrival_ns,
        has_prompt=True,
        deadline_ns=arrival_ns + 86_400 * 10**9,
    )
    assert repr(events[0]) == repr(first)
    assert [type(event) for event in events] == [Submitted] * 5 + [CancelRequested]
    assert events[5] == CancelRequested(5)
    assert {event.asked.sampling.stop for event in events[:4] if isinstance(event, Submitted)} == {(), ("zq",)}
    outcomes = [outcome_of(turn["outcome"]) for turn in turns if turn["outcome"] is not None]
    fourth = outcomes[3]
    assert (fourth.seq, fourth.generation, fourth.started_ns) == (3, 1, wanted["started_ns"])
    assert (fourth.handles.tolist(), fourth.tokens.tolist()) == (wanted["handles"], wanted["tokens"])


@pytest.mark.parametrize("name", RECORDS)
def test_the_whole_file_is_a_record(name: str) -> None:
    assert replay(FORMATS / f"{name}.jsonl").turns == len(_lines(name)) - 1
