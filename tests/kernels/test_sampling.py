"""The sampler compiled from C gives the tokens of the one in plain torch, for every mix of
parameters in one batch.
"""

from __future__ import annotations

import math
import os
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from skipjoin.kernels import sampling
from skipjoin.kernels.bring import brings_to
from skipjoin.kernels.dispatch import REFERENCE, kernels_for
from skipjoin.kernels.draw import uniform
from skipjoin.kernels.native.library import library
from skipjoin.kernels.native.precisions import NARROWER, SWITCH
from skipjoin.kernels.sampling import COLUMNS, columns_of

pytestmark = pytest.mark.needs("a C compiler")
torch.set_num_threads(1)

CPU = torch.device("cpu")
NOTHING = {
    "temperature": 1.0,
    "top_k": 0,
    "top_p": 1.0,
    "min_p": 0.0,
    "repetition": 1.0,
    "presence": 0.0,
    "frequency": 0.0,
}


@pytest.fixture(scope="module", autouse=True, params=["native", "avx2", "sse2"])
def vectors(request):
    """As wide as this processor's, or as on an older one: the passes over a vocabulary are other
    code for each.
    """
    before = os.environ.get(SWITCH)
    os.environ[SWITCH] = request.param
    library.cache_clear()
    try:
        if request.param in NARROWER and request.param not in Path("/proc/cpuinfo").read_text():
            pytest.skip(f"this processor has no {request.param}")
        yield request.param
    finally:
        os.environ.pop(SWITCH, None) if before is None else os.environ.update({SWITCH: before})
        library.cache_clear()


def native(dtype):
    found = kernels_for(CPU, dtype)
    assert found is not REFERENCE
    return found.sample


def columns(rows, seed=0):
    """`rows`: what each asks for; all else does nothing."""
    source = random.Random(seed)
    values = {name: np.array([(NOTHING | row)[name] for row in rows]) for name in NOTHING}
    values["seed"] = np.array([source.randrange(2**63) for _ in rows])
    values["position"] = np.array([source.randrange(2**40) for _ in rows])
    return columns_of(values, brings_to(CPU))


def a_row(source, vocab, penalised):
    pick = source.choice
    penalties = {
        "repetition": pick([1.0, 1.3, 0.7]),
        "presence": pick([0.0, 0.6, -0.5]),
        "frequency": pick([0.0, 0.4, -0.3]),
    }
    return {
        "temperature": pick([0.0, 0.5, 1.0, 3.0, 100.0, 1e-6, 1e-300, 1e-320]),
        "top_k": pick([0, 0, 1, 2, 5, 50, vocab - 1, vocab, vocab + 3]),
        "top_p": pick([1.0, 0.999, 0.95, 0.9, 0.3, 1e-9]),
        "min_p": pick([0.0, 0.0, 0.05, 1.0]),
        **(penalties if penalised else {}),
    }


def counts(rows, vocab):
    """(output, anywhere) of jobs that have said a good part of the vocabulary."""
    output = (torch.rand(rows, vocab) < 0.3) * torch.randint(1, 4, (rows, vocab))
    return output.int(), (output > 0) | (torch.rand(rows, vocab) < 0.1)


def both(logits, held, *seen):
    want, finite = REFERENCE.sample(logits, held, *seen)
    got, got_finite = native(logits.dtype)(logits, held, *seen)
    assert torch.equal(got_finite, finite)
    assert torch.equal(got, want), (got, want)
    return got, finite


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("penalised", [False, True])
@given(
    st.integers(1, 40),
    st.sampled_from([2, 7, 8, 255, 256, 257, 600, 4097]),
    st.sampled_from([0.02, 1.0, 3.0, 12.0]),
    st.booleans(),
    st.integers(0, 10**6),
)
def test_tokens_are_the_plain_ones(vectors, dtype, penalised, rows, vocab, size, ties, seed):
    """`ties` leaves a handful of values, which all stay or all go."""
    if vectors == "sse2" or (vectors == "avx2" and dtype is torch.float64):
        return  # they take long: what weighs and filters is in double for both, and the mixed batch below has it too
    source = random.Random(seed)
    torch.manual_seed(seed)
    logits = torch.randn(rows, vocab, dtype=dtype) * size
    logits = (logits * 2).round() / 2 if ties else logits
    logits[:, source.randrange(vocab)] = -math.inf
    held = columns([a_row(source, vocab, penalised) for _ in range(rows)], seed)
    _, finite = both(logits, held, *(counts(rows, vocab) if penalised else ()))
    assert finite.all()


@pytest.mark.parametrize("threads", [1, 2])
def test_company_changes_no_token(threads):
    """More logits than one thread takes alone; each row once more by itself, and out of a wider
    tensor.
    """
    rows, vocab = 130, 5000
    source = random.Random(3)
    torch.manual_seed(3)
    wide = torch.randn(rows, vocab + 9) * 4
    asked = [a_row(source, vocab, penalised=True) for _ in range(rows)]
    held, (output, anywhere) = columns(asked), counts(rows, vocab)
    torch.set_num_threads(threads)
    try:
        together, _ = both(wide[:, :vocab], held, output, anywhere)
    finally:
        torch.set_num_threads(1)
    for i in range(rows):
        one, row = slice(i, i + 1), wide[i : i + 1, :vocab].contiguous()
        lonely = sampling.SamplingColumns(*(getattr(held, name)[one] for name in COLUMNS))
        alone, _ = native(torch.float32)(row, lonely, output[one].contiguous(), anywhere[one].contiguous())
        assert int(alone) == int(together[i])


BORDERS = [
    ({"top_k": 2}, [3.0, 5.0, 3.0, 1.0], {0, 1, 2}),
    ({"top_k": 1}, [5.0, 5.0, 3.0, 1.0], {0, 1}),
    ({"top_p": 0.25}, [2.0, 2.0, 2.0, 2.0], {0, 1, 2, 3}),
    ({"top_p": 0.5}, [0.0, math.log(2), 0.0, -9.0], {0, 1, 2}),
    ({"top_p": 0.45}, [0.0, math.log(2), 0.0, -math.inf], {1}),
    ({"top_k": 2, "top_p": 0.6}, [0.0, math.log(3), 0.0, math.log(3)], {1, 3}),
    ({"min_p": 1.0}, [4.0, 4.0, 3.9999, 4.0], {0, 1, 3}),
    ({"min_p": 0.5}, [math.log(4), math.log(2.001), math.log(1.999), -math.inf], {0, 1}),
    ({"temperature": 0.0}, [1.0, 7.0, 7.0, 7.0], {1}),
    ({"temperature": 1e-320}, [1.0, 7.0, 6.9, 7.0], {1, 3}),
    ({"temperature": 0.0, "repetition": 2.0}, [8.0, 4.0, 7.0, 4.0], {2}),
    ({"temperature": 0.0, "presence": 1.0, "frequency": 0.5}, [8.0, 1.0, 6.0, 6.5], {3}),
]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("asked", "scores", "kept"), BORDERS)
def test_what_may_be_drawn(dtype, asked, scores, kept):
    """Ties at a filter's border stay in together; the best that stands first is greedy's. Token 0
    was said twice.
    """
    rows = 400
    logits = torch.tensor([scores], dtype=dtype).repeat(rows, 1)
    output = torch.tensor([[2, 0, 0, 0]], dtype=torch.int32).repeat(rows, 1)
    tokens, _ = both(logits, columns([asked] * rows, seed=5), output, output > 0)
    assert set(tokens.tolist()) == kept


def test_penalties_are_rounded_as_in_torch():
    """3 - 0.4 * 5 is 1 when the product is rounded, less when it is not: the tie goes to the first."""
    logits, output = torch.tensor([[3.0, 1.0]]), torch.tensor([[5, 0]], dtype=torch.int32)
    tokens, _ = both(logits, columns([{"temperature": 0.0, "frequency": 0.4}]), output, output > 0)
    assert int(tokens) == 0


def test_a_draw_is_the_first_token_that_reaches_it():
    """A flat distribution over 1,000 tokens shows the random number itself."""
    held = columns([{}] * 500)
    tokens, _ = both(torch.zeros(500, 1000), held)
    assert tokens.tolist() == ((uniform(held.seed, held.position) * 1000).ceil() - 1).long().tolist()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("place", [0, 5, 299])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_rows_that_are_not_finite_say_so_and_hurt_nobody(dtype, bad, place, temperature):
    torch.manual_seed(1)
    logits = torch.randn(3, 300, dtype=dtype)
    held = columns([{"temperature": temperature, "top_p": 0.9}] * 3)
    fine, _ = both(logits, held)
    logits[1, slice(None) if bad == -math.inf else place] = bad  # a single -inf is a token that cannot be
    hurt, finite = both(logits, held)
    assert finite.tolist() == [True, False, True] and int(hurt[1]) == 0
    assert hurt[[0, 2]].tolist() == fine[[0, 2]].tolist()


def test_a_penalty_next_to_nothing_is_not_finite_either():
    """A logit divided by 1e-320 is no number any more; the token must still be one of the
    vocabulary.
    """
    logits = torch.tensor([[1.0, 2.0, 3.0]]).repeat(3, 1)
    output = torch.tensor([[0, 1, 0]], dtype=torch.int32).repeat(3, 1)
    asked = [{"repetition": 1e-320, "temperature": heat} for heat in (0.0, 1.0)]
    tokens, finite = both(logits, columns([*asked, {}]), output, output > 0)
    assert finite.tolist() == [False, False, True] and tokens[:2].tolist() == [0, 0]


def test_half_precisions_stay_with_torch():
    assert kernels_for(CPU, torch.bfloat16).sample is sampling.sample


def test_columns_are_looked_at_again_when_one_of_them_is_another():
    """The sampler keeps where they lie; an equal object of other tensors, a column put in, or fewer
    rows must not be taken for what it knows.
    """
    torch.manual_seed(0)
    draw, logits = native(torch.float32), torch.randn(6, 500)

    def check(held, logits):
        assert torch.equal(draw(logits, held)[0], REFERENCE.sample(logits, held)[0])

    first = columns([{}] * 6)
    for _ in range(2):
        check(first, logits)
    check(columns([{}] * 6, seed=1), logits)
    check(first, logits)
    check(replace(first, position=torch.arange(6)), logits)
    check(replace(first, temperature=torch.tensor([0.0, 2, 3, 0, 1, 1], dtype=torch.float64)), logits)
    fewer = replace(first, **{name: getattr(first, name)[:4] for name in COLUMNS})
    check(fewer, logits[:4])
    check(first, logits)
    with pytest.raises(AssertionError):
        draw(logits, fewer)
    with pytest.raises(AssertionError):
        draw(logits[:4], first)
