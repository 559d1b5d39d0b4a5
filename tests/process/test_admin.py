"""`skipjoin admin` against a real server, over its socket, as an operator runs it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from process_server import Server, spec

from skipjoin.admin.connection import default_socket
from skipjoin.proto import job_pool_pb2 as pb
from skipjoin.serving.settings import load_settings

Serve = Callable[..., Server]
NOBODY = "0" * 32


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server whose four slots are taken by long jobs of slow iterations; the ladder of quanta
    sends them down.
    """
    flags = ("--policy", "skipjoin", "--simulated-scale", "3", "--max-batch", "4")
    made = Server(tmp_path_factory.mktemp("admin"), *flags).start()
    yield made
    made.stop()


def _admin(socket: Path | None, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    where = [] if socket is None else ["--socket", str(socket)]
    return subprocess.run(
        [sys.executable, "-m", "skipjoin.cli", "admin", *words, *where],
        capture_output=True, text=True, timeout=60, check=False, env={**os.environ, "PYTHONIOENCODING": "utf-8", **env},
    )  # fmt: skip


def _json(server: Server, *words: str) -> Any:
    done = _admin(server.admin, *words, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def _submit(server: Server, tokens: int, count: int = 1) -> list[str]:
    with server.stub() as stub:
        jobs = [stub.Submit(pb.SubmitRequest(spec=_endless(tokens))).job.job_id for _ in range(count)]
    return jobs


def _endless(tokens: int) -> pb.JobSpec:
    made = spec(tokens=tokens)
    made.sampling.ignore_eos = True
    return made


def _until(what: Callable[[], bool], patience_s: float = 30.0) -> None:
    end = time.monotonic() + patience_s
    while not what():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.1)


def test_an_operators_round(server: Server) -> None:
    """What the words say of one situation: two waves of jobs, more than fit the batch."""
    long = _submit(server, 900, 4)
    _until(lambda: _json(server, "status")["running_jobs"] == 4)
    short = _submit(server, 3, 3)
    with server.stub() as stub:
        for job_id in short:
            for _ in stub.Stream(pb.StreamRequest(job_id=job_id)):
                pass
    status = _json(server, "status")
    assert (status["policy"], status["model"], status["job_pool"], status["durable"]) == (
        "skipjoin",
        "simulated",
        "sqlite",
        True,
    )
    assert (status["live_jobs"], status["final_jobs"], status["engine_ready"], status["draining"]) == (
        4,
        3,
        True,
        False,
    )
    queues = _json(server, "queues")
    assert sum(level["jobs"] for level in queues["levels"]) == 4
    assert _json(server, "kv")["kv"]["device_total"] == 256
    listed = _json(server, "jobs", "--state", "claimed")
    assert [job["job_id"] for job in listed["jobs"]] == long[::-1]
    assert all(job["live"]["phase"] and job["live"]["level"] for job in listed["jobs"])
    phases = {job["live"]["phase"] for job in listed["jobs"]}
    assert any(f"{phase}, level" in _admin(server.admin, "jobs").stdout for phase in phases)
    assert _json(server, "job", long[0][:12])["job"]["job_id"] == long[0]
    assert _json(server, "jobs", "--limit", "2")["more"] is True
    assert _json(server, "jobs", "--tenant", "nobody") == {"jobs": [], "more": False}
    _check_accounts(server, long, short)
    for word in ("status", "jobs", "queues", "kv"):
        done = _admin(server.admin, word)
        assert done.returncode == 0 and done.stdout, done.stderr
    text = _admin(server.admin, "job", long[0]).stdout
    assert "until now" in text and "First token after" in text and "share" in text

    gone = _json(server, "cancel", long[0])
    assert gone["cancel_requested"] or gone["state"] == "cancelled"
    _until(lambda: _json(server, "job", long[0])["job"]["state"] == "cancelled")
    assert "had ended before" in _admin(server.admin, "cancel", short[0]).stdout
    assert _json(server, "policy", "fcfs") == {"previous": "skipjoin", "policy": "fcfs", "tail": None}
    _until(lambda: _json(server, "status")["policy"] == "fcfs")
    assert "already" in _admin(server.admin, "policy", "fcfs").stdout
    assert _json(server, "policy") == {"policy": "fcfs", "tail": None}
    assert _admin(server.admin, "policy").stdout == "The policy is fcfs.\n"


def test_the_dial_is_turned_live_and_outlives_the_engine(serve: Serve) -> None:
    server = serve("--policy", "adaptive", "--tail", "0.4")

    def stands() -> tuple[str, float | None]:
        status = _json(server, "status")
        return status["policy"], status["tail"]

    assert stands() == ("adaptive", 0.4)
    assert _json(server, "policy", "adaptive", "--tail", "0.2") == {
        "previous": "adaptive", "policy": "adaptive", "tail": 0.2,
    }  # fmt: skip
    assert stands() == ("adaptive", 0.2)
    assert "tail 0.2" in _admin(server.admin, "status").stdout
    server.kill_engine()
    _until(lambda: _json(server, "status")["engine_restarts"] == 1 and stands()[1] is not None)
    assert stands() == ("adaptive", 0.2)
    assert _json(server, "policy", "adaptive") == {"previous": "adaptive", "policy": "adaptive", "tail": 0.2}
    assert stands() == ("adaptive", 0.2)  # nothing was said of the dial
    assert _json(server, "policy", "fcfs")["tail"] is None
    assert stands() == ("fcfs", None)
    assert "Its tail is 0.4" in _admin(server.admin, "policy", "adaptive").stdout  # as the server was told at start
    assert stands() == ("adaptive", 0.4)


def _check_accounts(server: Server, long: list[str], short: list[str]) -> None:
    """A short job pushed a long one aside, and both know it; the five parts are the whole time."""
    accounts = [_json(server, "job", job_id) for job_id in short]
    for answer in accounts:
        job, account = answer["job"], answer["job"]["account"]
        assert answer["live"] is None and job["state"] == "succeeded"
        parts = sum(account[f"{name}_ns"] for name in ("queued", "prefill", "decode", "preempted", "moving"))
        assert account["first_token_ns"] <= parts
        assert account["prefill_ns"] > 0 and account["decode_ns"] > 0
    live = [_json(server, "job", job_id)["live"] for job_id in long]
    assert sum(answer["account"]["preemptions"] for answer in live) >= 1
    assert all(answer["phase"] for answer in live)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("job", "../etc"), 2, "job_id"),
        (("job", NOBODY), 3, "no such job"),
        (("job", "abcdef" + "0" * 20), 3, "none of the newest begins with"),
        (("job", "abc"), 2, "job_id"),
        (("policy", "--tail", "0.5"), 2, "the policy that it is the dial of"),
        (("jobs", "--watch", "0"), 2, "watch"),
        (("jobs", "--watch", "soon"), 2, "watch"),
        (("cancel", NOBODY), 3, "no such job"),
        (("policy", "srpt-oracle"), 2, "nobody knows of a live job"),
        (("policy", "lifo"), 2, "one of skipjoin, fcfs, adaptive"),
        (("policy", "fcfs", "--tail", "0.5"), 2, "has no dial; leave tail out"),
        (("policy", "adaptive", "--tail", "1.5"), 2, "tail is 1.5"),
        (("policy", "adaptive", "--tail", "nan"), 2, "tail is nan"),
        (("policy", "adaptive", "--tail", "-0.1"), 2, "0 (lowest mean) to 1"),
        (("policy", "x" * 500), 2, "policy"),
        (("jobs", "--limit", "0"), 2, "limit"),
        (("jobs", "--state", "running"), 2, "is none of accepted"),
        (("drain", "--timeout", "-1"), 2, "timeout"),
        (("drain", "--timeout", "nan"), 2, "timeout"),
        (("cancel", NOBODY, "--reason", "x" * 300), 2, "reason"),
        (("job",), 2, "ID"),
        (("nonsense",), 2, "nonsense"),
    ],
)
def test_what_cannot_be_done_has_a_code_and_a_sentence(
    server: Server, words: tuple[str, ...], code: int, said: str
) -> None:
    done = _admin(server.admin, *words)
    assert (done.returncode, done.stdout) == (code, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_no_server(tmp_path: Path) -> None:
    for path in (tmp_path / "admin.sock", tmp_path):
        done = _admin(path, "status")
        assert done.returncode == 5
        assert "No server runs here" in done.stderr and "skipjoin serve" in done.stderr
    done = _admin(None, "status", XDG_STATE_HOME=str(tmp_path), SKIPJOIN_ADMIN_SOCKET="")
    assert done.returncode == 5
    assert str(tmp_path / "skipjoin" / "admin.sock") in done.stderr


def test_a_server_that_died_left_its_socket(serve: Serve) -> None:
    server = serve()
    engine = server.engine_pid()
    server.kill()
    assert server.admin.exists()
    done = _admin(server.admin, "status")
    assert done.returncode == 5
    assert "No server answers" in done.stderr
    _until(lambda: not Path(f"/proc/{engine}").exists())


def test_drain_ends_the_server(serve: Serve) -> None:
    server = serve("--simulated-scale", "3", "--drain-s", "60")
    _submit(server, 2000)
    _until(lambda: _json(server, "status")["running_jobs"] == 1)
    answer = _json(server, "drain", "--timeout", "0.3")
    assert answer == {"live_jobs": 1}
    assert server.wait(20) == 0


def test_several_operators_at_once(server: Server) -> None:
    answers: list[int] = []
    threads = [threading.Thread(target=lambda: answers.append(_admin(server.admin, "kv").returncode)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [0] * 4


def test_both_sides_look_for_the_socket_at_one_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SKIPJOIN_ADMIN_SOCKET", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    assert default_socket() == load_settings({"executor": "simulated"}).admin_path
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert default_socket() == load_settings({"executor": "simulated"}).admin_path
    monkeypatch.setenv("SKIPJOIN_ADMIN_SOCKET", str(tmp_path / "other.sock"))
    assert default_socket() == load_settings({"executor": "simulated"}).admin_path == tmp_path / "other.sock"


def test_a_prefix_of_several_jobs_names_them_and_cancels_none(serve: Serve) -> None:
    server = serve()
    with server.stub() as stub:  # of 700 ids with 4 hex digits some two begin alike, all but surely
        done = [stub.Submit(pb.SubmitRequest(spec=_endless(1))).job.job_id for _ in range(700)]
    alike: dict[str, list[str]] = {}
    for job_id in done:
        alike.setdefault(job_id[:4], []).append(job_id)
    begins, several = next((key, ids) for key, ids in alike.items() if len(ids) > 1)
    said = _admin(server.admin, "cancel", begins)
    assert said.returncode == 2
    assert f"Several jobs begin with {begins}" in said.stderr
    assert all(job_id in said.stderr for job_id in several[:5])


def test_a_watch_shows_again_until_it_is_interrupted(serve: Serve) -> None:
    server = serve()
    _submit(server, 3)
    words = [sys.executable, "-m", "skipjoin.cli", "admin", "jobs", "--watch", "0.2", "--socket", str(server.admin)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as watching:
        assert watching.stdout is not None
        headers = 0
        while headers < 3:
            headers += watching.stdout.readline().startswith("job ")
        watching.send_signal(signal.SIGINT)
        assert watching.wait(20) == 130
