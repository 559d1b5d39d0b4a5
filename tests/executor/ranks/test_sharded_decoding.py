"""Tokens of several ranks are those of one, for every family and form of attention, however jobs
are run. Everything in float64, where rounding decides no argmax.
"""

from __future__ import annotations

import random

import pytest
import torch
from plan_driver import Job, PlanDriver
from ranks_in_threads import Meeting, ThreadGroup, ranks_in_threads
from transformers import LlamaConfig, LlamaForCausalLM
from transformers_models import FAMILIES, VOCABULARY, make

from skipjoin.core.errors import InvalidModel
from skipjoin.core.sampling import SamplingParams
from skipjoin.executor.runner import TorchExecutor
from skipjoin.kvstore.device.pool import PoolShape
from skipjoin.model.weights.loading import load_model

SHAPE = PoolShape(60, 90, page_tokens=5)
WAYS = [
    SamplingParams(temperature=0.0),
    SamplingParams(temperature=0.9, top_p=0.9, logprobs=2),
    SamplingParams(temperature=0.7, repetition_penalty=1.2),
]


def jobs(count, wanted, vocabulary=VOCABULARY):
    source = random.Random(5)
    prompts = [[source.randrange(3, vocabulary) for _ in range(source.randrange(1, 40))] for _ in range(count)]
    return [Job(i, prompt, wanted, WAYS[i % len(WAYS)], seed=7 + i) for i, prompt in enumerate(prompts)]


def run(executor, count, wanted, **manner):
    todo = jobs(count, wanted)
    # What is computed again must not be cut up: a job that leaves in between would never end.
    chunk = 10**9 if manner.get("recompute") else 17
    tokens = PlanDriver(executor, max_batch=3, chunk=chunk, shuffle_seed=2, **manner).run(todo)
    executor.close()
    return tokens, [job.logprobs for job in todo]


def one_rank(folder, count, wanted, **manner):
    return run(TorchExecutor(load_model(folder, "cpu", "float64"), SHAPE), count, wanted, **manner)


def close(some, others):
    """Log-probabilities to rounding: sums over ranks are added in another order."""
    for job, other in zip(some, others, strict=True):
        for one, two in zip(job, other, strict=True):
            assert (one is None) == (two is None)
            assert one is None or one.chosen == pytest.approx(two.chosen, abs=1e-9)


@pytest.fixture(scope="module", params=FAMILIES)
def folder(request, tmp_path_factory):
    """A model of each family."""
    place = tmp_path_factory.mktemp(request.param.replace(" ", "-"))
    make(request.param).save_pretrained(place)
    return place


def test_every_family_gives_the_tokens_of_one_rank(folder):
    alone, logprobs = one_rank(folder, 4, 6)
    with ranks_in_threads(folder, SHAPE, 2) as executor:
        tokens, others = run(executor, 4, 6)
    assert tokens == alone
    close(logprobs, others)


@pytest.fixture(scope="module", params=[(4, 4), (4, 2), (4, 1)], ids=["MHA", "GQA", "MQA"])
def attention(request, tmp_path_factory):
    """A model of each form of attention; its vocabulary is even for no number of ranks."""
    heads, kv_heads = request.param
    place = tmp_path_factory.mktemp("attention")
    torch.manual_seed(6)
    config = LlamaConfig(
        vocab_size=VOCABULARY + 1,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        initializer_range=0.15,
    )
    LlamaForCausalLM(config).save_pretrained(place)
    return place


@pytest.mark.parametrize("manner", [{"rotate": True, "swap": True}, {"rotate": True, "recompute": True}])
@pytest.mark.parametrize("ranks", [2, 4])
def test_preempted_at_every_iteration_the_tokens_are_those_of_one_rank(attention, ranks, manner):
    alone, _ = one_rank(attention, 9, 8)
    with ranks_in_threads(attention, SHAPE, ranks) as executor:
        tokens, _ = run(executor, 9, 8, **manner)
    assert tokens == alone
    assert len({tuple(one) for one in tokens}) == 9, "a dull model"


def test_a_rank_has_its_share_of_the_heads_and_of_the_vocabulary(attention):
    whole, meeting = load_model(attention, "cpu", "float64"), Meeting(2)
    for rank in range(2):
        part = load_model(attention, "cpu", "float64", collectives=ThreadGroup(meeting, rank))
        assert part.config.heads * 2 == whole.config.heads
        assert part.config.kv_heads == max(1, whole.config.kv_heads // 2)
        assert part.config.intermediate * 2 == whole.config.intermediate
        assert len(part.parts.embedding.table.rows) == (VOCABULARY + 2) // 2
        assert part.config.vocab_size == VOCABULARY + 1


def test_heads_that_cannot_be_divided_are_refused(attention):
    with pytest.raises(InvalidModel, match="cannot be divided among 3") as refused:
        load_model(attention, "cpu", "float64", collectives=ThreadGroup(Meeting(3), 0))
    assert refused.value.field == "tensor_parallel"
