"""An engine of several ranks behind the door: killed and stopped ranks change no token and lose no
job. In float64, where token-identical is exact.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
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
    return [*flags, "--kv-tokens", "512", "--max-batch", "4", "--preempt-every-turn", "--stall-s", "3"]


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


def _read(stub: object, job_id: str, tokens: int) -> None:
    """Follow until so many tokens are there."""
    seen = 0
    for item in stub.Stream(pb.StreamRequest(job_id=job_id), timeout=200):  # type: ignore[attr-defined]
        seen += len(item.chunk.token_ids)
        if seen >= tokens:
            return
    raise AssertionError(f"the job ended with {seen} tokens before anything was killed")
