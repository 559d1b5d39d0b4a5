"""A real model behind the door, in float64, where token-identical is exact: kills, preemption and
batching change no token.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from process_server import Server

from skipjoin import LLM, SamplingParams
from skipjoin.model.presets import init_model
from skipjoin.proto import job_pool_pb2 as pb

Serve = Callable[..., Server]
LENGTH = 64


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("count", [8, pytest.param(500, marks=pytest.mark.soak)])
def test_tokens_over_kills_of_engine_and_door_are_those_of_a_calm_run_alone(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "model"
    init_model(folder, "tiny", seed=7)
    prompts = [f"the {i}th question is " * (1 + i % 3) for i in range(count)]
    with LLM(folder, device="cpu", dtype="float64", threads=1, kv_tokens=2048, max_batch=1) as llm:
        params = [SamplingParams(temperature=0.9, seed=i, max_new_tokens=LENGTH, ignore_eos=True) for i in range(count)]
        calm = [llm.generate(p, s, progress=False)[0] for p, s in zip(prompts, params, strict=True)]

    flags = ["--model", str(folder), "--device", "cpu", "--dtype", "float64", "--threads", "1"]
    flags += ["--kv-tokens", "512", "--max-batch", "4", "--preempt-every-turn"]
    server = serve(*flags, simulated=False)
    jobs: list[str] = []
    with server.stub() as stub:
        for i, prompt in enumerate(prompts):
            sampling = pb.SamplingParams(temperature=0.9, seed=i, max_new_tokens=LENGTH, ignore_eos=True)
            jobs.append(stub.Submit(pb.SubmitRequest(spec=pb.JobSpec(text=prompt, sampling=sampling))).job.job_id)
        _read(stub, jobs[0], 10)
        server.kill_engine()
        _read(stub, jobs[-1], 20)
        server.kill()
    server.start()
    with server.stub() as stub:
        killed_late = stub.Get(pb.GetRequest(job_id=jobs[0])).job
        for job, expected in zip(jobs, calm, strict=True):
            chunks = [item.chunk for item in stub.Stream(pb.StreamRequest(job_id=job), timeout=600)]
            assert tuple(token for chunk in chunks for token in chunk.token_ids) == expected.token_ids
            assert "".join(chunk.text for chunk in chunks) == expected.text
    assert killed_late.output_tokens >= 10


def _read(stub: object, job_id: str, tokens: int) -> None:
    """Follow until so many tokens are there."""
    seen = 0
    for item in stub.Stream(pb.StreamRequest(job_id=job_id), timeout=600):  # type: ignore[attr-defined]
        seen += len(item.chunk.token_ids)
        if seen >= tokens:
            return
    raise AssertionError(f"the job ended with {seen} tokens before anything was killed")
