"""Parity, sampling, preemption and offload on CUDA: what the CPU tests show, on the device, with
copies beside the forward pass.
"""

from __future__ import annotations

import dataclasses
import hashlib
import random

import numpy as np
import pytest
import torch
from plan_driver import Job, PlanDriver

from skipjoin.core.asked import Asked
from skipjoin.core.plan import Admit, Direction, Move
from skipjoin.core.sampling import SamplingParams
from skipjoin.executor.handles import HandleTable
from skipjoin.executor.runner import TorchExecutor
from skipjoin.executor.sampling.penalties import seen_tokens
from skipjoin.executor.sampling.sampled_jobs import sampled_jobs
from skipjoin.executor.sampling.sampler import Sampler
from skipjoin.kernels.bring import brings_to
from skipjoin.kernels.dispatch import compiled, kernels_for
from skipjoin.kernels.layout import KvLayout
from skipjoin.kvstore.device.mover import StreamMover
from skipjoin.kvstore.device.pool import PagePools, PoolShape, page_bytes_view
from skipjoin.model.weights.loading import load_model

pytestmark = pytest.mark.gpu

DEVICE = "cuda"
VOCABULARY = 512
SLEEP_CYCLES = 400_000_000  # some tenths of a second


def make_jobs(count, wanted, **sampling):
    source = random.Random(3)
    params = SamplingParams(**({"temperature": 0.0} | sampling))
    prompts = [[source.randrange(VOCABULARY) for _ in range(source.randrange(1, 90))] for _ in range(count)]
    return [Job(i, prompt, wanted, params, seed=500 + i) for i, prompt in enumerate(prompts)]


@pytest.fixture(scope="module")
def model(gpu_folder):
    return load_model(gpu_folder, DEVICE, "float64")


@pytest.fixture(scope="module")
def cpu_tokens(gpu_folder):
    jobs = make_jobs(60, 48)
    PlanDriver(TorchExecutor(load_model(gpu_folder, "cpu", "float64"), PoolShape(700, 0)), max_batch=60).run(jobs)
    return [job.tokens for job in jobs]


def test_cpu_tokens_are_those_of_transformers(gpu_folder, cpu_tokens):
    """So that this file needs no other one to mean something."""
    transformers = pytest.importorskip("transformers")
    reference = transformers.AutoModelForCausalLM.from_pretrained(gpu_folder, dtype=torch.float64)
    for parent in list(reference.modules()):
        for name, child in list(parent.named_children()):
            if type(child).__name__ == "LlamaRMSNorm":
                norm = torch.nn.RMSNorm(child.weight.shape[0], eps=child.variance_epsilon, dtype=torch.float64)
                norm.weight = child.weight
                setattr(parent, name, norm)
    for job, tokens in zip(make_jobs(60, 48), cpu_tokens, strict=True):
        known = torch.tensor([job.prompt + tokens[:-1]])
        with torch.inference_mode():
            best = reference(input_ids=known).logits[0, len(job.prompt) - 1 :].argmax(-1)
        assert best.tolist() == tokens


MANNERS = {
    "alone": (4, {"max_batch": 1}),
    "batched": (60, {"max_batch": 60}),
    "chunked": (60, {"max_batch": 20, "chunk": 9}),
    "preempted every turn and offloaded": (60, {"max_batch": 20, "rotate": True, "swap": True}),
    "preempted every turn and recomputed": (12, {"max_batch": 6, "rotate": True, "recompute": True}),
    "chunked, preempted, offloaded": (12, {"max_batch": 4, "rotate": True, "swap": True, "chunk": 5}),
}


@pytest.mark.parametrize("manner", MANNERS)
def test_tokens_are_the_cpus_in_every_manner(model, cpu_tokens, manner):
    count, options = MANNERS[manner]
    executor = TorchExecutor(model, PoolShape(700, 700))
    driver = PlanDriver(executor, **options, shuffle_seed=1)
    assert driver.run(make_jobs(count, 48)) == cpu_tokens[:count]
    if "swap" in options:
        assert driver.moves_done > 10 * count
    executor.close()


@pytest.mark.parametrize(
    "sampling",
    [{"temperature": 0.9, "top_p": 0.9}, {"temperature": 0.7, "frequency_penalty": 0.5, "repetition_penalty": 1.2}],
)
def test_drawn_tokens_are_the_cpus(gpu_folder, model, sampling):
    cpu = PlanDriver(TorchExecutor(load_model(gpu_folder, "cpu", "float64"), PoolShape(300, 0))).run(
        make_jobs(16, 24, **sampling)
    )
    gpu = PlanDriver(TorchExecutor(model, PoolShape(300, 300)), max_batch=4, rotate=True, swap=True)
    assert gpu.run(make_jobs(16, 24, **sampling)) == cpu


def test_sampler_on_equal_logits():
    torch.manual_seed(0)
    source = random.Random(0)
    table = HandleTable()
    for handle in range(256):
        params = SamplingParams(
            temperature=source.choice([0.0, 0.5, 1.0]),
            top_k=source.choice([0, 1, 40]),
            top_p=source.choice([1.0, 0.9, 0.3]),
            min_p=source.choice([0.0, 0.05]),
            repetition_penalty=source.choice([1.0, 1.3]),
            presence_penalty=source.choice([0.0, 0.5]),
            logprobs=source.choice([None, 3]),
        )
        tokens = np.array([source.randrange(5000) for _ in range(20)], np.int32)
        table.admit(Admit(handle, tokens, 20, 10, Asked(params), source.randrange(2**63)), source.randrange(2**63))
    handles = np.arange(256)
    rows = table.rows_of(handles)
    logits = torch.randn(256, 5000) * 4
    answers = []
    for device in ("cpu", DEVICE):
        bring, positions = brings_to(torch.device(device)), table.columns["known"][rows]
        kernels = kernels_for(torch.device(device), logits.dtype)
        assert (device == DEVICE) == (kernels == compiled())
        jobs = sampled_jobs(table, handles, rows, *bring(rows))
        seen = seen_tokens(jobs, [], 5000, bring)
        sampler = Sampler(table, kernels, bring)
        sampled = sampler.sample(logits.to(device), jobs, positions, *bring(positions), seen)
        assert sampled.tokens.device.type == device
        answers.append(
            (sampled.tokens.tolist(), sampled.finite.tolist(), sampled.logprobs(table.columns["logprobs"][rows]))
        )
    assert answers[0][:2] == answers[1][:2]
    for cpu, gpu in zip(answers[0][2], answers[1][2], strict=True):
        assert (cpu is None) == (gpu is None)
        if cpu is not None:
            assert cpu.chosen == pytest.approx(gpu.chosen)
            assert [token for token, _ in cpu.top] == [token for token, _ in gpu.top]


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-3), ("bfloat16", 0.15), ("float16", 0.03)])
def test_smaller_precisions_stay_near(gpu_folder, model, dtype, tolerance):
    exact, near = make_jobs(8, 1, logprobs=5), make_jobs(8, 1, logprobs=5)
    PlanDriver(TorchExecutor(model, PoolShape(80, 0))).run(exact)
    PlanDriver(TorchExecutor(load_model(gpu_folder, DEVICE, dtype), PoolShape(80, 0))).run(near)
    for a, b in zip(exact, near, strict=True):
        first, second = dict(a.logprobs[0].top), dict(b.logprobs[0].top)
        shared = first.keys() & second.keys()
        assert len(shared) >= 3
        assert all(abs(first[token] - second[token]) <= tolerance * max(1.0, abs(first[token])) for token in shared)


# moves
# ------------------------------------------------------------------------------------------------------------


def new_pools():
    layout = KvLayout(layers=8, kv_heads=8, page_tokens=16, head_dim=64)
    pools = PagePools(layout, PoolShape(64, 64), torch.device(DEVICE), torch.bfloat16)
    pools.device.view(torch.int16).random_(-30000, 30000)
    torch.cuda.synchronize()
    return pools


def checksums(pool, pages):
    view = page_bytes_view(pool)
    return [hashlib.sha256(view[page].cpu().numpy().tobytes()).hexdigest() for page in pages]


def move(move_id, direction, pages, slots):
    return Move(move_id, direction, 1, np.array(pages, np.int32), np.array(slots, np.int32))


def wait_all(mover):
    ids = []
    while mover.in_flight:
        assert mover.wait_one(None)
        ids += mover.landed()
    return ids


def test_the_host_pool_is_pinned_to_the_byte():
    """torch's own pinned memory would be a power of two. Given back: the second one may lie where
    the first one lay, and registering twice fails.
    """
    layout = KvLayout(layers=8, kv_heads=8, page_tokens=16, head_dim=64)
    before = torch.cuda.host_memory_stats().get("allocated_bytes.current", 0)
    for _ in range(2):
        pools = PagePools(layout, PoolShape(1, 70), torch.device(DEVICE), torch.bfloat16)
        assert pools.host.is_pinned() and pools.host[69].is_pinned() and not pools.host.any()
        assert torch.cuda.host_memory_stats().get("allocated_bytes.current", 0) == before
        del pools


def test_a_round_trip_beside_computation_changes_no_byte():
    pools = new_pools()
    assert pools.host.is_pinned()
    mover = StreamMover(pools)
    source = random.Random(1)
    pages, slots, back = (source.sample(range(64), 24) for _ in range(3))
    before = checksums(pools.device, pages)
    busy = torch.randn(2048, 2048, device=DEVICE)
    mover.start(move(1, Direction.OUT, pages, slots))
    for _ in range(50):
        busy = (busy @ busy).clamp(-1, 1)
    assert wait_all(mover) == [1]
    assert checksums(pools.host, slots) == before
    pools.device[pages] = 0
    mover.start(move(2, Direction.IN, back, slots))
    for _ in range(50):
        busy = (busy @ busy).clamp(-1, 1)
    assert wait_all(mover) == [2]
    assert checksums(pools.device, back) == before
    assert torch.isfinite(busy).all()


def test_a_move_waits_for_the_work_launched_before_it():
    """The forward pass that writes the page is still running when the move starts; the copy must
    hold what it writes.
    """
    pools = new_pools()
    mover = StreamMover(pools)
    torch.cuda._sleep(SLEEP_CYCLES)
    pools.device[5] = 3.0
    mover.start(move(1, Direction.OUT, [5], [9]))
    assert mover.landed() == (), "a fence recorded before its copy would say done"
    assert not mover.wait_one(0)
    assert wait_all(mover) == [1]
    assert (pools.host[9] == 3.0).all()


def test_control_a_page_reused_before_its_copy_is_done_is_caught():
    """The planted fault: the copy stream is held back while the page gets a new owner. The checksum
    must not agree.
    """
    pools = new_pools()
    mover = StreamMover(pools)
    before = checksums(pools.device, [5, 6])
    with torch.cuda.stream(mover._streams[Direction.OUT]):
        torch.cuda._sleep(SLEEP_CYCLES)
    mover.start(move(1, Direction.OUT, [5, 6], [0, 1]))
    pools.device[6] = 1.0  # freed too early
    assert wait_all(mover) == [1]
    after = checksums(pools.host, [0, 1])
    assert after[0] == before[0]
    assert after[1] != before[1]


def test_void_tickets_never_answer():
    pools = new_pools()
    mover = StreamMover(pools)
    mover.start(move(1, Direction.OUT, [1], [1]))
    mover.void()
    assert mover.in_flight == 0 and mover.landed() == ()
    mover.start(move(1, Direction.IN, [2], [1]))
    assert wait_all(mover) == [1]
    assert checksums(pools.device, [2]) == checksums(pools.device, [1])
    mover.close()


def test_poll_does_not_wait_when_it_must_not(model):
    """With the stream held back, a poll of zero answers nothing; the outcome comes later and is the
    right one.
    """
    executor = TorchExecutor(model, PoolShape(50, 0))
    driver = PlanDriver(executor, max_batch=1)
    job = make_jobs(1, 3)[0]
    again = dataclasses.replace(job, tokens=[], logprobs=[], pages=[], slots=[], handle=77)
    polled = []

    def delayed(**parts):
        torch.cuda._sleep(SLEEP_CYCLES)
        driver.executor.submit(plan := driver_plan(driver, **parts))
        polled.append(executor.poll(0) if plan.computes else None)
        return executor.poll(None)

    expected = driver.run([job])
    driver.submit = delayed
    assert driver.run([again]) == expected
    assert polled and all(outcome is None for outcome in polled)


def driver_plan(driver, **parts):
    from skipjoin.core.plan import IterationPlan

    driver.seq += 1
    return IterationPlan(seq=driver.seq, generation=driver.facts.generation, **parts)
