"""Tokens are Transformers' and do not depend on how a job is run. Everything in float64, where
rounding decides no argmax.
"""

from __future__ import annotations

import json
import random
import shutil

import pytest
import torch
from plan_driver import Job, PlanDriver
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from skipjoin.core.sampling import SamplingParams
from skipjoin.executor.runner import TorchExecutor
from skipjoin.kernels.dispatch import REFERENCE
from skipjoin.kvstore.device.pool import PoolShape
from skipjoin.model.presets import PRESETS
from skipjoin.model.weights.loading import load_model

JOBS, NEW_TOKENS = 500, 64
VOCABULARY = PRESETS["tiny"].vocab_size


def in_float64(reference):
    """Transformers rounds every norm to float32, even in a float64 model; torch's own norm does
    not.
    """
    for parent in list(reference.modules()):
        for name, child in list(parent.named_children()):
            if type(child).__name__ == "LlamaRMSNorm":
                norm = torch.nn.RMSNorm(child.weight.shape[0], eps=child.variance_epsilon, dtype=torch.float64)
                norm.weight = child.weight
                setattr(parent, name, norm)
    return reference


@torch.inference_mode()
def assert_greedy(reference, jobs):
    """Each job's tokens are the reference's greedy choice, one after the other: by induction its
    whole greedy output.
    """
    for job in jobs:
        known = job.prompt + job.tokens
        best = reference(input_ids=torch.tensor([known[:-1]])).logits[0, len(job.prompt) - 1 :].argmax(-1)
        assert best.tolist() == job.tokens, f"job {job.handle}"


def make_jobs(count=JOBS, wanted=NEW_TOKENS, **sampling):
    source = random.Random(1)
    params = SamplingParams(**({"temperature": 0.0} | sampling))
    prompts = [[source.randrange(VOCABULARY) for _ in range(source.randrange(1, 60))] for _ in range(count)]
    return [Job(i, prompt, wanted, params, seed=1000 + i) for i, prompt in enumerate(prompts)]


@pytest.fixture(scope="module")
def expected(tiny_folder, tiny64):
    """500 jobs of 64 tokens, run 125 at a time, and each of them compared with Transformers."""
    jobs = make_jobs()
    PlanDriver(TorchExecutor(tiny64, PoolShape(1100, 0)), max_batch=125).run(jobs)
    assert_greedy(in_float64(AutoModelForCausalLM.from_pretrained(tiny_folder, dtype=torch.float64)), jobs)
    assert len({tuple(job.tokens) for job in jobs}) == JOBS, (
        "a model that says the same to everyone would prove nothing"
    )
    return [job.tokens for job in jobs]


MANNERS = {
    "alone": (12, 16, {"max_batch": 1}),
    "batched by eight": (60, 16, {"max_batch": 8}),
    "odd pages": (100, 3, {"max_batch": 100}),
    "chunked": (250, 16, {"max_batch": 50, "chunk": 7}),
    "chunks of one": (12, 3, {"max_batch": 12, "chunk": 1}),
    "preempted every turn and offloaded": (100, 16, {"max_batch": 50, "rotate": True, "swap": True}),
    "preempted every turn and recomputed": (12, 16, {"max_batch": 6, "rotate": True, "recompute": True}),
    "chunked, preempted, offloaded": (24, 3, {"max_batch": 8, "rotate": True, "swap": True, "chunk": 5}),
}


@pytest.mark.parametrize("everybody", [False, pytest.param(True, marks=[pytest.mark.soak, pytest.mark.timeout(3600)])])
@pytest.mark.parametrize("kernels", [None, REFERENCE], ids=["quickest", "reference"])
@pytest.mark.parametrize("manner", MANNERS)
def test_greedy_tokens_do_not_depend_on_how_a_job_is_run(tiny64, expected, manner, kernels, everybody):
    count, page_tokens, options = MANNERS[manner]
    if everybody:  # all 500 jobs in every manner, with `make soak`
        count = JOBS
    pages = 9 * count * 16 // page_tokens
    executor = TorchExecutor(tiny64, PoolShape(pages, pages, page_tokens), kernels=kernels, checked=True)
    driver = PlanDriver(executor, **options, shuffle_seed=page_tokens)
    assert driver.run(make_jobs(count)) == expected[:count]
    if "swap" in options:
        assert driver.moves_done > 10 * count
    executor.close()


@pytest.mark.parametrize(
    "manner", ["batched by eight", "chunked, preempted, offloaded", "preempted every turn and recomputed"]
)
@pytest.mark.parametrize(
    "sampling",
    [
        {"temperature": 0.8},
        {"temperature": 1.0, "top_k": 20, "top_p": 0.9, "min_p": 0.02},
        {
            "temperature": 0.7,
            "repetition_penalty": 1.3,
            "presence_penalty": 0.4,
            "frequency_penalty": 0.2,
            "logprobs": 2,
        },
        {"temperature": 0.0, "frequency_penalty": 1.5},
    ],
    ids=["temperature", "filters", "penalties", "greedy with a penalty"],
)
def test_drawn_tokens_do_not_depend_on_how_a_job_is_run(tiny64, sampling, manner):
    alone = PlanDriver(TorchExecutor(tiny64, PoolShape(160, 320)), max_batch=1).run(make_jobs(10, 24, **sampling))
    driver = PlanDriver(
        TorchExecutor(tiny64, PoolShape(160, 320)), **(MANNERS[manner][2] | {"max_batch": 4}), shuffle_seed=5
    )
    assert driver.run(make_jobs(10, 24, **sampling)) == alone
    greedy = PlanDriver(TorchExecutor(tiny64, PoolShape(160, 320)), max_batch=4).run(make_jobs(10, 24))
    assert greedy != alone


def test_jobs_of_different_sampling_share_a_batch(tiny64):
    kinds = [
        {},
        {"temperature": 1.0},
        {"temperature": 0.9, "top_p": 0.5},
        {"temperature": 0.0, "repetition_penalty": 1.2},
    ]

    def mixed():
        jobs = make_jobs(12, 20)
        for job in jobs:
            job.sampling = make_jobs(1, **kinds[job.handle % len(kinds)])[0].sampling
        return jobs

    together = PlanDriver(TorchExecutor(tiny64, PoolShape(160, 0)), max_batch=12).run(mixed())
    assert together == PlanDriver(TorchExecutor(tiny64, PoolShape(160, 0)), max_batch=1).run(mixed())


VARIANTS = {
    "tied embeddings": {"tie_word_embeddings": True},
    "biases": {"attention_bias": True, "mlp_bias": True},
    "no grouped heads": {"num_key_value_heads": 4},
    "one key-value head": {"num_key_value_heads": 1},
    "wide heads": {"head_dim": 32},
    "linear rope": {"rope_parameters": {"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0}},
    "llama3 rope": {
        "rope_parameters": {
            "rope_type": "llama3",
            "rope_theta": 500000.0,
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 64,
        }
    },
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_variants_that_transformers_wrote(tmp_path, variant):
    """Folders from Transformers' own save, in shards with an index; random biases, so that a
    forgotten one shows.
    """
    torch.manual_seed(3)
    shape = {
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
    }
    config = LlamaConfig(
        vocab_size=256, max_position_embeddings=512, initializer_range=0.15, **(shape | VARIANTS[variant])
    )
    reference = LlamaForCausalLM(config).to(torch.float64).eval()
    for name, parameter in reference.named_parameters():
        if name.endswith(".bias"):
            torch.nn.init.normal_(parameter)
    reference.save_pretrained(tmp_path, max_shard_size="100KB")
    assert (tmp_path / "model.safetensors.index.json").is_file()
    model = load_model(tmp_path, "cpu", "float64")
    source = random.Random(2)
    jobs = [Job(i, [source.randrange(256) for _ in range(source.randrange(1, 80))], 32) for i in range(6)]
    got = PlanDriver(TorchExecutor(model, PoolShape(80, 0)), max_batch=4, chunk=20).run(jobs)
    assert all(len(tokens) == 32 for tokens in got)
    assert_greedy(in_float64(reference), jobs)


def test_older_config_spelling(tiny_folder, tmp_path, expected):
    """rope_theta with rope_scaling "type", as files before Transformers 5 have it, is the same
    model.
    """
    shutil.copytree(tiny_folder, tmp_path / "old")
    raw = json.loads((tmp_path / "old" / "config.json").read_text())
    raw["rope_scaling"] = {"type": "default"}
    (tmp_path / "old" / "config.json").write_text(json.dumps(raw))
    driver = PlanDriver(TorchExecutor(load_model(tmp_path / "old", "cpu", "float64"), PoolShape(160, 0)))
    assert driver.run(make_jobs(4)) == expected[:4]


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 2e-4), ("bfloat16", 0.15), ("float16", 0.03)])
def test_smaller_precisions_stay_near(tiny_folder, tiny64, dtype, tolerance):
    """Log-probabilities of the first tokens, against float64; a wrong operation would be far off."""
    params = {"temperature": 0.0, "logprobs": 5}
    exact, near = make_jobs(8, 1, **params), make_jobs(8, 1, **params)
    PlanDriver(TorchExecutor(tiny64, PoolShape(80, 0))).run(exact)
    PlanDriver(TorchExecutor(load_model(tiny_folder, "cpu", dtype), PoolShape(80, 0))).run(near)
    for a, b in zip(exact, near, strict=True):
        first, second = dict(a.logprobs[0].top), dict(b.logprobs[0].top)
        shared = first.keys() & second.keys()
        assert len(shared) >= 3
        assert all(abs(first[token] - second[token]) <= tolerance * max(1.0, abs(first[token])) for token in shared)
