"""Tokens of the stages of a pipeline are those of one rank, for every family and form of attention,
however jobs are run. Everything in float64, where rounding decides no argmax.
"""

from __future__ import annotations

import shutil

import pytest
from plan_driver import Job, PlanDriver
from ranks_in_threads import ThreadRing, ranks_in_threads
from safetensors.torch import load_file, save_file
from tokens_of_ranks import SHAPE, close, one_rank, run

from skipjoin.core.errors import InvalidModel
from skipjoin.model.weights.loading import load_model


def test_every_family_gives_the_tokens_of_one_rank(folder):
    alone, logprobs = one_rank(folder, 4, 6)
    with ranks_in_threads(folder, SHAPE, 1, stages=2) as executor:
        tokens, others = run(executor, 4, 6)
    assert tokens == alone
    close(logprobs, others)


@pytest.mark.parametrize("manner", [{"rotate": True, "swap": True}, {"rotate": True, "recompute": True}])
@pytest.mark.parametrize("ranks", [1, 2])
def test_preempted_at_every_iteration_the_tokens_are_those_of_one_rank(attention, ranks, manner):
    alone, _ = one_rank(attention, 9, 8)
    with ranks_in_threads(attention, SHAPE, ranks, stages=2) as executor:
        tokens, _ = run(executor, 9, 8, **manner)
    assert tokens == alone
    assert len({tuple(one) for one in tokens}) == 9, "a dull model"


def test_of_a_prompt_only_the_row_that_gives_a_token_comes_back(attention):
    with ranks_in_threads(attention, SHAPE, 1, stages=2) as executor:
        PlanDriver(executor, max_batch=1, chunk=10).run([Job(1, list(range(3, 28)), 3)])
    warm_up = [1, 1]
    handed = [ring.handed for ring in executor.rings]
    assert handed == [[*warm_up, 10, 10, 5, 1, 1], [*warm_up, 1, 1, 1]]


def test_a_stage_has_its_layers_and_the_first_both_ends(attention):
    whole = load_model(attention, "cpu", "float64")
    first, later = (load_model(attention, "cpu", "float64", ring=ThreadRing([None, None], at)) for at in range(2))
    assert (first.config.layers, later.config.layers) == (1, 1)
    assert later.parts.ends is None
    assert [layer.attention.index for part in (first, later) for layer in part.parts.layers] == [0, 0]
    assert later.config.attention == whole.config.attention[1:]
    assert first.parts.embedding.table.rows.equal(whole.parts.embedding.table.rows)


def test_the_stages_together_read_what_one_rank_reads(folder):
    """And each says before how much that will be."""

    def read(ring=None):
        told = []
        load_model(folder, "cpu", "float64", lambda done, total: told.append((done, total)), ring=ring)
        done, total = told[-1]
        assert done == total
        return total

    assert sum(read(ThreadRing([None, None], stage)) for stage in range(2)) == read()


def test_a_stage_reads_no_tensor_of_another(attention, tmp_path):
    """One that is not finite would be refused."""
    folder = tmp_path / "model"
    shutil.copytree(attention, folder)
    file = folder / "model.safetensors"
    tensors = load_file(file)
    for name in tensors:
        if not name.startswith("model.layers.1."):
            tensors[name].fill_(float("nan"))
    save_file(tensors, file, metadata={"format": "pt"})
    load_model(folder, "cpu", "float64", ring=ThreadRing([None, None], 1))
    with pytest.raises(InvalidModel, match="not finite"):
        load_model(folder, "cpu", "float64", ring=ThreadRing([None, None], 0))


def test_a_tensor_that_no_stage_has_is_refused_by_all(attention, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(attention, folder)
    file = folder / "model.safetensors"
    tensors = load_file(file)
    tensors["model.layers.0.stranger.weight"] = tensors["model.norm.weight"].clone()
    save_file(tensors, file, metadata={"format": "pt"})
    for stage in range(2):
        with pytest.raises(InvalidModel, match="stranger"):
            load_model(folder, "cpu", "float64", ring=ThreadRing([None, None], stage))
