"""Tokens of several ranks are those of one, for every family and form of attention, however jobs
are run. Everything in float64, where rounding decides no argmax.
"""

from __future__ import annotations

import pytest
from ranks_in_threads import Meeting, ThreadGroup, ranks_in_threads
from safetensors.torch import load_file
from tokens_of_ranks import SHAPE, close, one_rank, run
from transformers_models import VOCABULARY

from skipjoin.core.errors import InvalidModel
from skipjoin.model.weights import memory
from skipjoin.model.weights.loading import load_model


def test_every_family_gives_the_tokens_of_one_rank(folder):
    alone, logprobs = one_rank(folder, 4, 6)
    with ranks_in_threads(folder, SHAPE, 2) as executor:
        tokens, others = run(executor, 4, 6)
    assert tokens == alone
    close(logprobs, others)


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


def test_more_ranks_than_heads_are_refused(attention):
    """Two of them would hold the same head, and a sum over all would count it twice."""
    heads = load_model(attention, "cpu", "float64").config.heads
    with pytest.raises(InvalidModel, match=f"{heads}, cannot be divided among {2 * heads}"):
        load_model(attention, "cpu", "float64", collectives=ThreadGroup(Meeting(2 * heads), 0))


def test_parts_that_fit_only_one_by_one_are_refused_together(attention, monkeypatch):
    part_bytes = 8 * sum(tensor.numel() for tensor in load_file(attention / "model.safetensors").values()) // 2
    monkeypatch.setattr(memory, "available_bytes", lambda: 3 * part_bytes // 2)
    group = ThreadGroup(Meeting(2), 0)
    load_model(attention, "cpu", "float64", collectives=group)
    with pytest.raises(InvalidModel, match="The weights need"):
        load_model(attention, "cpu", "float64", collectives=group, sharing=2)
