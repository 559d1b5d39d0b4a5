"""An engine of several ranks behind the door: killed and stopped ranks change no token and lose no
job. In float64, where token-identical is exact.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from process_server import Server, alive

from skipjoin import LLM, SamplingParams
from skipjoin.core.errors import InvalidModel
from skipjoin.model.presets import init_model
from skipjoin.proto import job_pool_pb2 as pb

Serve = Callable[..., Server]
LENGTH = 48
JOBS = 6


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model folder, and a cache of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    init_model(tmp_path / "model", "tiny", seed=7)
    return tmp_path / "model"


def _sampling(number: int) -> SamplingParams:
    return SamplingParams(temperature=0.9, seed=number, max_new_tokens=LENGTH, ignore_eos=True)


def _calm(model: Path, prompts: list[str]) -> list[tuple[int, ...]]:
    """What one rank says, undisturbed."""
    with LLM(model, device="cpu", dtype="float64", threads=1, kv_tokens=2048, max_batch=1) as llm:
        return [llm.generate(p, _sampling(i), progress=False)[0].token_ids for i, p in enumerate(prompts)]


def _flags(model: Path, abreast: int, stages: int = 1) -> list[str]:
    flags = ["--model", str(model), "--device", "cpu", "--dtype", "float64"]
    flags += ["--tensor-parallel", str(abreast), "--pipeline-parallel", str(stages)]
    # The invariants of ledger and pools are checked after every turn.
    flags += ["--validate-every-turn", "--preempt-every-turn"]
    return [*flags, "--kv-tokens", "512", "--max-batch", "4", "--stall-s", "3"]


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("abreast", "stages"), [(2, 1), (1, 2), (2, 2)])
def test_tokens_over_a_killed_and_a_stopped_rank_are_those_of_one_rank(
    serve: Serve, model: Path, abreast: int, stages: int
) -> None:
    """It is the last rank, which is in the last stage."""
    prompts = [f"the {i}th question is " * (1 + i % 3) for i in range(JOBS)]
    calm = _calm(model, prompts)
    server = serve(*_flags(model, abreast, stages), simulated=False)
    others = abreast * stages - 1
    jobs: list[str] = []
    with server.stub() as stub:
        for i, prompt in enumerate(prompts):
            sampling = pb.SamplingParams(temperature=0.9, seed=i, max_new_tokens=LENGTH, ignore_eos=True)
            jobs.append(stub.Submit(pb.SubmitRequest(spec=pb.JobSpec(text=prompt, sampling=sampling))).job.job_id)
        _read(stub, jobs[0], 8)
        killed = server.rank_pids(others)[-1]
        os.kill(killed, signal.SIGKILL)
        _read(stub, jobs[-1], 8)
        stopped = server.rank_pids(others)[-1]
        assert stopped != killed
        os.kill(stopped, signal.SIGSTOP)
        for job, expected in zip(jobs, calm, strict=True):
            chunks = [item.chunk for item in stub.Stream(pb.StreamRequest(job_id=job), timeout=200)]
            assert tuple(token for chunk in chunks for token in chunk.token_ids) == expected
        assert not alive(stopped), "a rank that hangs ends with its engine"


def test_more_stages_than_layers_are_refused_before_a_rank_starts(model: Path) -> None:
    with pytest.raises(InvalidModel, match="16 stages") as refused:
        LLM(model, device="cpu", pipeline_parallel=16)
    assert refused.value.field == "pipeline_parallel"


@pytest.mark.timeout(120)
def test_ranks_end_with_their_engine(serve: Serve, model: Path) -> None:
    server = serve(*_flags(model, 2), simulated=False)
    (rank,) = server.rank_pids(1)
    server.kill()
    end = time.monotonic() + 10
    while alive(rank):
        assert time.monotonic() < end, "a rank outlived its engine"
        time.sleep(0.01)


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A file with a secret."""
    (tmp_path / "secret").write_text("the ranks of this test alone\n")
    return tmp_path / "secret"


@pytest.fixture
def environ(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """torchrun's variables, as rank 0 has them; tests that start another rank change RANK."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    said = {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    for name, value in said.items():
        monkeypatch.setenv(name, value)
    return {**os.environ, "RANK": "1"}


@pytest.fixture
def rank(environ: dict[str, str], tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Starts `skipjoin rank`, as on another machine; its log is in rank.txt."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*flags: str) -> subprocess.Popen[bytes]:
        with (tmp_path / "rank.txt").open("ab") as log:
            command = [sys.executable, "-m", "skipjoin.cli", "rank", *flags]
            started.append(subprocess.Popen(command, env=environ, stdout=log, stderr=log))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait(10)


@pytest.mark.timeout(300)
def test_a_rank_that_came_over_the_network_comes_again(
    serve: Serve, model: Path, secret: Path, rank: Callable[..., subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    """Killed and stopped, with the model in another folder than rank 0's: no token changes."""
    shutil.copytree(model, tmp_path / "elsewhere")
    joined = rank("--secret", str(secret), "--model", str(tmp_path / "elsewhere"))
    (calm,) = _calm(model, ["over the network"])
    server = serve(*_flags(model, 2), "--ranks", "env", "--ranks-secret", str(secret), simulated=False)
    with server.stub() as stub:
        sampling = pb.SamplingParams(temperature=0.9, seed=0, max_new_tokens=LENGTH, ignore_eos=True)
        spec = pb.JobSpec(text="over the network", sampling=sampling)
        job = stub.Submit(pb.SubmitRequest(spec=spec)).job.job_id
        gone: list[int] = []
        for tokens, number in ((4, signal.SIGKILL), (20, signal.SIGSTOP)):
            _read(stub, job, tokens)
            gone += server.rank_pids(1, of=joined.pid)
            os.kill(gone[-1], number)
        chunks = [item.chunk for item in stub.Stream(pb.StreamRequest(job_id=job), timeout=200)]
        assert tuple(token for chunk in chunks for token in chunk.token_ids) == calm
        assert len(set(gone)) == 2 and not any(map(alive, gone))
    assert joined.poll() is None
    end = time.monotonic() + 20  # each row is as of the last second
    while True:
        rows = json.loads(_admin(server, "executors", "--json"))
        if all(row["memory_bytes"] and row["step_ns"] for row in rows["ranks"]):
            break
        assert time.monotonic() < end, rows
    assert [row["rank"] for row in rows["ranks"]] == [0, 1] and rows["restarts"] == 2
    assert [row["pid"] for row in rows["ranks"]] == [server.engine_pid(), *server.rank_pids(1, of=joined.pid)]
    for row in rows["ranks"]:
        assert (row["share"]["heads"], row["share"]["of_heads"]) == (2, 4)
        assert min(row["weight_bytes"], row["page_bytes"], row["device_pages"]) > 0
    table = _admin(server, "executors").splitlines()
    assert table[0].split()[:4] == ["rank", "pid", "host", "device"] and len(table) == 3
    assert "heads 2/4, KV heads 1/2" in table[2]


def test_ranks_with_another_secret_and_ranks_that_do_not_come_are_said(
    model: Path, secret: Path, rank: Callable[..., subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    (tmp_path / "other").write_text("the ranks of another test\n")
    wrong = rank("--secret", str(tmp_path / "other"))
    flags = ["--ranks", "env", "--ranks-secret", str(secret), "--ranks-wait-s", "8"]
    server = Server(tmp_path, *_flags(model, 2), *flags, simulated=False)
    with pytest.raises(AssertionError, match="no start line"):
        server.start()
    said = server.log.read_text()
    assert "Rank 1 of 2 did not come to 127.0.0.1:" in said and "another secret" in said
    assert wrong.wait(30) == 4
    assert "its ranks_secret is another one. Give all ranks the same file." in (tmp_path / "rank.txt").read_text()


def _admin(server: Server, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "skipjoin.cli", "admin", *words, "--socket", str(server.admin)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout


def _read(stub: object, job_id: str, tokens: int) -> None:
    """Follow until so many tokens are there."""
    seen = 0
    for item in stub.Stream(pb.StreamRequest(job_id=job_id), timeout=200):  # type: ignore[attr-defined]
        seen += len(item.chunk.token_ids)
        if seen >= tokens:
            return
    raise AssertionError(f"the job ended with {seen} tokens before anything was killed")
