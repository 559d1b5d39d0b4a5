"""What an operator reads, from messages as a server sends them."""

from __future__ import annotations

import io
import json
import re
import sys

import pytest

from skipjoin.admin import render
from skipjoin.admin.plain import plain
from skipjoin.proto import admin_pb2 as pb
from skipjoin.proto import job_pool_pb2 as jobs

ACCOUNT = jobs.JobAccount(
    queued_ns=1_000_400_000, prefill_ns=50_400_000, decode_ns=2_000_400_000, preempted_ns=400_000, moving_ns=0,
    preemptions=2, promotions=1, demotions=3, recomputed_tokens=64, first_token_ns=1_100_000_000,
)  # fmt: skip


def _job(**fields: object) -> jobs.Job:
    told = {"job_id": "a" * 32, "tenant": "default", "prompt_tokens": 5, "output_tokens": 7, **fields}
    job = jobs.Job(**told)  # type: ignore[arg-type]
    job.sampling.max_new_tokens = 9
    job.submit_time.FromNanoseconds(1_700_000_000 * 10**9)
    return job


def test_why_a_job_was_slow(capsys: pytest.CaptureFixture[str]) -> None:
    render.show_job(pb.GetJobResponse(job=_job(state=jobs.JOB_STATE_SUCCEEDED, finish_reason=1, account=ACCOUNT)))
    text = capsys.readouterr().out
    total = float(re.search(r"to the end: ([\d.]+) ms", text)[1])  # type: ignore[index]
    rows = [float(value) for value in re.findall(r" ([\d.]+) ms +[\d.]+ %", text)]
    assert len(rows) == 5
    assert sum(rows) == pytest.approx(total, abs=1e-9) == pytest.approx(3051.6)
    assert sum(float(value) for value in re.findall(r"([\d.]+) %", text)) == pytest.approx(100.0)
    bar = re.search(r"\[(.+)\]", text)[1]  # type: ignore[index]
    assert len(bar) == render.BAR_CELLS
    assert "Most of the time it made tokens" in text
    assert "succeeded (stop)" in text
    assert "computed again 64" in text


def test_a_live_job_says_where_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    live = pb.LiveJob(phase="preempted", level=3, account=ACCOUNT)
    render.show_job(pb.GetJobResponse(job=_job(state=jobs.JOB_STATE_CLAIMED), live=live))
    text = capsys.readouterr().out
    assert "claimed, preempted on level 3" in text
    assert "until now" in text


def test_jobs_without_an_account(capsys: pytest.CaptureFixture[str]) -> None:
    render.show_job(pb.GetJobResponse(job=_job(state=jobs.JOB_STATE_ACCEPTED)))
    assert "all of its time is waiting" in capsys.readouterr().out
    render.show_job(pb.GetJobResponse(job=_job(state=jobs.JOB_STATE_EXPIRED)))
    assert "no account" in capsys.readouterr().out
    empty = pb.LiveJob(phase="queued", account=jobs.JobAccount())
    render.show_job(pb.GetJobResponse(job=_job(state=jobs.JOB_STATE_CLAIMED), live=empty))
    assert "not yet" in capsys.readouterr().out


def test_a_terminal_without_the_symbols_gets_others(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", out)
    render.show_job(pb.GetJobResponse(job=_job(state=jobs.JOB_STATE_SUCCEEDED, account=ACCOUNT)))
    out.flush()
    text = out.buffer.getvalue().decode("ascii")  # type: ignore[attr-defined]
    assert re.search(r"\[\.+#*=+\]", text)


def test_clients_cannot_write_to_the_operators_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    job = _job(state=jobs.JOB_STATE_FAILED, request_id="x\x1b[2Jy")
    job.failure.message = "bad\r\nnews\x07"
    render.show_job(pb.GetJobResponse(job=job))
    render.show_jobs([job], False)
    text = capsys.readouterr().out
    assert not set(text) & {"\x1b", "\x07", "\r"}
    assert "y" in text


def test_json_keeps_numbers_as_numbers() -> None:
    value = json.loads(json.dumps(plain(pb.GetJobResponse(job=_job(state=jobs.JOB_STATE_CLAIMED, account=ACCOUNT)))))
    assert value["job"]["account"]["queued_ns"] == 1_000_400_000
    assert value["job"]["state"] == "claimed"
    assert value["job"]["finish_reason"] is None
    assert value["job"]["submit_time"] == "2023-11-14T22:13:20Z"
    assert value["job"]["request_id"] is None
    assert value["live"] is None


def test_a_priority_is_shown_where_there_is_one(capsys: pytest.CaptureFixture[str]) -> None:
    urgent, usual = _job(state=jobs.JOB_STATE_CLAIMED, priority=-7), _job(state=jobs.JOB_STATE_CLAIMED)
    render.show_jobs([urgent, usual], False)
    header, *rows = capsys.readouterr().out.splitlines()
    at = header.index("priority") + len("priority")
    assert [row[:at].split()[-1] for row in rows] == ["-7", "0"]
    render.show_job(pb.GetJobResponse(job=urgent))
    assert "priority" in (text := capsys.readouterr().out) and "-7" in text
    render.show_job(pb.GetJobResponse(job=usual))
    assert "priority" not in capsys.readouterr().out


def test_the_dial_is_shown_where_there_is_one(capsys: pytest.CaptureFixture[str]) -> None:
    render.show_status(pb.ServerStatus(policy="adaptive", tail=0.0))
    assert "adaptive, tail 0\n" in capsys.readouterr().out
    render.show_status(pb.ServerStatus(policy="fcfs"))
    assert "tail" not in capsys.readouterr().out
    render.show_policy(pb.SetPolicyResponse(previous="fcfs", policy="adaptive", tail=0.25))
    assert capsys.readouterr().out == "The policy is adaptive now; it was fcfs. Its tail is 0.25.\n"
    render.show_policy(pb.SetPolicyResponse(previous="adaptive", policy="adaptive", tail=0.5))
    assert capsys.readouterr().out == "The policy was adaptive already. Its tail is 0.5.\n"
    render.show_policy(pb.SetPolicyResponse(previous="fcfs", policy="skipjoin"))
    assert capsys.readouterr().out == "The policy is skipjoin now; it was fcfs.\n"
