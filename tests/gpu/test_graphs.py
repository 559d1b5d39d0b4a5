"""Decodes replayed as CUDA graphs give the tokens of launched ones, whatever else the device does;
what was sampled comes without a wait.
"""

from __future__ import annotations

import random
import threading

import pytest
import torch
from plan_driver import Job, PlanDriver

from skipjoin.core.sampling import SamplingParams
from skipjoin.executor.runner import TorchExecutor
from skipjoin.kvstore.device.pool import PoolShape
from skipjoin.model.weights.loading import load_model

pytestmark = pytest.mark.gpu

ROWS = 24


def make_jobs(logprobs=None):
    """Contexts from one token to some beyond 512, after which attention cuts them."""
    source = random.Random(6)
    params = SamplingParams(temperature=0.0, logprobs=logprobs)
    lengths = [1, 9, 40, 100, 490, 505, 512, 700, *(source.randrange(1, 60) for _ in range(22))]
    prompts = [[source.randrange(512) for _ in range(length)] for length in lengths]
    return [Job(i, prompt, 20 + i, params) for i, prompt in enumerate(prompts)]


def run(model, graph_rows, logprobs=None, **manner):
    """(jobs as they ended, replays)."""
    jobs = make_jobs(logprobs)
    executor = TorchExecutor(model, PoolShape(400, 400), graph_rows=graph_rows)
    driver = PlanDriver(executor, **manner)
    driver.run(jobs)
    replays = 0 if executor.graphs is None else executor.graphs.replayed
    if executor.graphs is not None:
        counts, standing = executor.graphs._row_counts, executor.graphs._standing
        assert len(executor.graphs._replays) == sum(standing.levels(rows) for rows in counts), "not all were recorded"
    assert "swap" not in manner or driver.moves_done > len(jobs)
    executor.close()
    return jobs, replays


@pytest.fixture(scope="module")
def model(gpu_folder):
    return load_model(gpu_folder, "cuda", "float32")


@pytest.fixture(scope="module")
def launched(model):
    return run(model, 0, max_batch=30)[0]


@pytest.mark.parametrize(
    "manner",
    [
        {"max_batch": 30},
        {"max_batch": 20, "chunk": 50},
        {"max_batch": 7, "rotate": True, "swap": True},
    ],
)
def test_tokens_are_those_of_launched_decodes(model, launched, manner):
    jobs, replays = run(model, ROWS, **manner)
    assert replays > 20
    assert [job.tokens for job in jobs] == [job.tokens for job in launched]


def test_log_probabilities_are_near(model):
    ours, replays = run(model, ROWS, logprobs=3, max_batch=ROWS)
    theirs, none = run(model, 0, logprobs=3, max_batch=ROWS)
    assert replays > 20 and none == 0
    for job, other in zip(ours, theirs, strict=True):
        assert job.tokens == other.tokens
        for a, b in zip(job.logprobs, other.logprobs, strict=True):
            assert a.chosen == pytest.approx(b.chosen, abs=1e-3)


def test_recorded_under_load_and_preempted_in_between(model, launched):
    """Another thread keeps the device busy on a stream of its own, from before the recording until
    after the last token.
    """
    over, begun = threading.Event(), threading.Event()

    def load():
        a, out = torch.randn(1024, 1024, device="cuda"), torch.empty(1024, 1024, device="cuda")
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            while not over.is_set():
                for _ in range(8):
                    torch.mm(a, a, out=out)
                done = torch.cuda.Event()
                done.record(stream)
                done.synchronize()
                begun.set()

    thread = threading.Thread(target=load)
    thread.start()
    try:
        assert begun.wait(60)
        jobs, replays = run(model, ROWS, max_batch=7, rotate=True, swap=True)
    finally:
        over.set()
        thread.join()
    assert replays > 20
    assert [job.tokens for job in jobs] == [job.tokens for job in launched]


def test_bfloat16_is_recorded_too(gpu_folder):
    """Products of bfloat16 may round by the number of rows, so that tokens may differ; numbers that
    are none would fail a job.
    """
    jobs, replays = run(load_model(gpu_folder, "cuda", "bfloat16"), ROWS, max_batch=30)
    assert replays > 20
    assert all(job.failed is None and len(job.tokens) == job.wanted for job in jobs)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="one CUDA device alone")
def test_a_device_that_is_not_the_current_one(gpu_folder, launched):
    """Triton launches on the thread's device and takes its stream from there, whatever device a
    tensor lies on.
    """
    assert torch.cuda.current_device() == 0
    jobs, replays = run(load_model(gpu_folder, "cuda:1", "float32"), ROWS, max_batch=30)
    assert replays > 20
    assert [job.tokens for job in jobs] == [job.tokens for job in launched]
    assert torch.cuda.current_device() == 0, "the caller's own work goes where it went"


@pytest.mark.parametrize("logprobs", [None, 3])
def test_an_answer_is_read_without_waiting_for_the_device(model, logprobs):
    """Once the event behind an iteration has come, `poll` may not make the host wait: torch raises
    at whatever would.
    """
    executor = TorchExecutor(model, PoolShape(60, 0), graph_rows=4)
    driver = PlanDriver(executor, max_batch=4)
    poll, answers = executor.poll, []

    def strict(timeout_ns):
        launched = executor._launched[0]
        if launched.ready is None:
            return poll(timeout_ns)
        assert launched.sampled is None or launched.sampled.tokens.is_pinned()
        launched.ready.synchronize()
        torch.cuda.set_sync_debug_mode("error")
        try:
            answers.append(poll(timeout_ns))
        finally:
            torch.cuda.set_sync_debug_mode("default")
        return answers[-1]

    executor.poll = strict
    jobs = [Job(i, [3, 4, 5 + i], 8, SamplingParams(temperature=0.0, logprobs=logprobs)) for i in range(4)]
    driver.run(jobs)
    assert len(answers) >= 8 and all(len(job.tokens) == 8 for job in jobs)
    executor.close()
