"""The sampler against a slow one that works on one job with plain numbers; draws; and independence
from the neighbours.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from skipjoin.core.asked import Asked
from skipjoin.core.plan import Admit
from skipjoin.core.sampling import SamplingParams
from skipjoin.executor.handles import HandleTable
from skipjoin.executor.sampling.penalties import seen_tokens
from skipjoin.executor.sampling.sampled_jobs import sampled_jobs
from skipjoin.executor.sampling.sampler import Sampler
from skipjoin.kernels.bring import brings_to
from skipjoin.kernels.dispatch import REFERENCE, kernels_for
from skipjoin.kernels.draw import mix64, uniform

MASK = 2**64 - 1
stay = brings_to(torch.device("cpu"))

SETS = pytest.mark.parametrize("kernels", ["torch", pytest.param("native", marks=pytest.mark.needs("a C compiler"))])


def sample(kernels, logits, table, rows, positions, seen):
    """As the runner does it, with a sampler that has kept nothing yet."""
    found = REFERENCE if kernels == "torch" else kernels_for(torch.device("cpu"), logits.dtype)
    assert (found is REFERENCE) == (kernels == "torch")
    return Sampler(table, found, stay).sample(logits, jobs_on(table, rows), positions, *stay(positions), seen)


def jobs_on(table, rows):
    """As the batch builder makes them; here a job's handle is the row it has, or nobody asks for
    it.
    """
    return sampled_jobs(table, rows, rows, *stay(rows))


def splitmix(x):
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK
    return x ^ (x >> 31)


def slow_uniform(seed, position):
    state = (splitmix((seed + 0x9E3779B97F4A7C15) & MASK) + (position + 1) * 0x9E3779B97F4A7C15) & MASK
    return ((splitmix(state) >> 12) + 0.5) * 2.0**-52


@given(st.integers(0, 2**63 - 1), st.integers(0, 2**40))
def test_draws_are_splitmix64(seed, position):
    got = float(uniform(torch.tensor([seed]), torch.tensor([position]))[0])
    assert got == slow_uniform(seed, position)
    assert 0.0 < got < 1.0


def test_a_known_value_of_splitmix64():
    """First output of the published generator for seed 0: its state is the golden gamma."""
    assert int(mix64(torch.tensor([0x9E3779B97F4A7C15 - 2**64]))[0]) & MASK == 0xE220A8397B1DCDAF


def test_draws_look_uniform_over_seeds_and_over_positions():
    n = 20_000
    for draws in (
        uniform(torch.arange(n), torch.full((n,), 7)),
        uniform(torch.full((n,), 123456789), torch.arange(n)),
    ):
        counts = torch.histc(draws, bins=20, min=0, max=1)
        chi_square = float(((counts - n / 20) ** 2 / (n / 20)).sum())
        assert chi_square < 45, "19 degrees of freedom: 43.8 is exceeded once in a thousand"
        assert abs(float(torch.corrcoef(torch.stack([draws[:-1], draws[1:]]))[0, 1])) < 0.03


def slow_weights(logits, params, prompt, output):
    """Unnormalised probabilities of one job, one number at a time."""
    scores = list(logits)
    for token in range(len(scores)):
        if token in prompt or token in output:
            r = params.repetition_penalty
            scores[token] = scores[token] / r if scores[token] > 0 else scores[token] * r
        count = output.count(token)
        scores[token] -= params.frequency_penalty * count + params.presence_penalty * (count > 0)
    if params.greedy:
        best = max(scores)
        return [1.0 if i == scores.index(best) else 0.0 for i in range(len(scores))]
    best = max(scores)
    weights = [math.exp((score - best) / params.temperature) for score in scores]
    if params.top_k:
        border = sorted(weights, reverse=True)[min(params.top_k, len(weights)) - 1]
        weights = [w if w >= border else 0.0 for w in weights]
    if params.top_p < 1.0:
        target, mass = params.top_p * sum(weights), 0.0
        for border in sorted(weights, reverse=True):
            mass += border
            if mass >= target:
                break
        weights = [w if w >= border else 0.0 for w in weights]
    return [w if w >= params.min_p * max(weights) else 0.0 for w in weights]


def slow_token(weights, draw):
    """The token, and whether rounding could make it another one."""
    target, mass, near = draw * sum(weights), 0.0, False
    for token, weight in enumerate(weights):
        mass += weight
        near = near or (weight > 0 and abs(mass - target) < 1e-9 * sum(weights))
        if weight > 0 and mass >= target:
            return token, near
    raise AssertionError


params_of_a_job = st.builds(
    SamplingParams,
    temperature=st.sampled_from([0.0, 0.3, 1.0, 1.7]),
    top_k=st.sampled_from([0, 0, 1, 3, 100]),
    top_p=st.sampled_from([1.0, 0.95, 0.5, 0.05]),
    min_p=st.sampled_from([0.0, 0.1]),
    repetition_penalty=st.sampled_from([1.0, 1.4, 0.8]),
    presence_penalty=st.sampled_from([0.0, 0.9]),
    frequency_penalty=st.sampled_from([0.0, -0.5]),
    logprobs=st.sampled_from([None, 0, 4]),
)


def table_of(jobs, pending=0):
    """(params, prompt, output, seed) each; the last `pending` output tokens are not in the history
    yet.
    """
    table = HandleTable()
    for handle, (params, prompt, output, seed) in enumerate(jobs):
        tokens = np.array(prompt + output[: len(output) - pending], np.int32)
        table.admit(Admit(handle, tokens, len(tokens), len(prompt), Asked(params), seed), seed)
        table.columns["known"][table.resident(handle).row] += pending
    handles = np.arange(len(jobs))
    return table, handles, table.rows_of(handles)


def run(kernels, table, rows, logits, unread):
    positions, jobs = table.columns["known"][rows], jobs_on(table, rows)
    seen = seen_tokens(jobs, unread, logits.shape[-1], stay) if jobs.penalised else None
    sampled = sample(kernels, logits, table, rows, positions, seen)
    return sampled, sampled.logprobs(table.columns["logprobs"][rows])


@SETS
@given(
    st.lists(
        st.tuples(
            params_of_a_job,
            st.lists(st.integers(0, 11), min_size=1, max_size=6),
            st.lists(st.integers(0, 11), min_size=2, max_size=6),
            st.integers(0, 2**63 - 1),
        ),
        min_size=1,
        max_size=5,
    ),
    st.integers(0, 10**6),
    st.integers(0, 2),
)
def test_sampler_is_the_slow_one_and_ignores_neighbours(kernels, jobs, torch_seed, late):
    torch.manual_seed(torch_seed)
    logits = torch.randn(len(jobs), 12, dtype=torch.float64) * 3
    table, handles, rows = table_of(jobs, pending=late)
    assert np.array_equal(handles, rows)
    unread = [
        (jobs_on(table, rows), torch.tensor([output[back] for _, _, output, _ in jobs])) for back in range(-late, 0)
    ]
    sampled, logprobs = run(kernels, table, rows, logits, unread)
    for i, (params, prompt, output, seed) in enumerate(jobs):
        weights = slow_weights(logits[i].tolist(), params, prompt, output)
        token, near = slow_token(weights, slow_uniform(seed, len(prompt) + len(output)))
        assert near or int(sampled.tokens[i]) == token
        alone, alone_logprobs = run(kernels, table, rows[i : i + 1], logits[i : i + 1], unread)
        assert int(alone.tokens[0]) == int(sampled.tokens[i])
        if params.logprobs is None:
            assert logprobs is None or logprobs[i] is None
            continue
        entry = logprobs[i]
        assert entry.chosen == alone_logprobs[0].chosen
        raw = logits[i].log_softmax(0)
        assert entry.chosen == pytest.approx(float(raw[int(sampled.tokens[i])]))
        best = raw.topk(params.logprobs)
        assert [token for token, _ in entry.top] == best.indices.tolist()
        assert [value for _, value in entry.top] == pytest.approx(best.values.tolist())


@SETS
def test_frequencies_follow_the_distribution(kernels):
    """20,000 jobs that differ in their seed only: chi-square over 8 tokens."""
    n = 20_000
    logits = torch.tensor([0.0, 1.0, -1.0, 2.0, 0.5, -3.0, 1.5, 0.2], dtype=torch.float32)
    table, _, rows = table_of([(SamplingParams(temperature=0.9), [1], [], seed) for seed in range(n)])
    tokens = sample(kernels, logits.expand(n, -1), table, rows, table.columns["known"][rows], None).tokens
    expected = (logits.double() / 0.9).softmax(0) * n
    chi_square = float(((torch.bincount(tokens, minlength=8) - expected) ** 2 / expected).sum())
    assert chi_square < 24.3, "7 degrees of freedom: exceeded once in a thousand"


@SETS
def test_top_p_over_a_large_vocabulary_takes_the_full_sort_where_it_must(kernels):
    """A flat distribution needs more than the first look; beside a peaked job the answer is the
    same.
    """
    torch.manual_seed(0)
    flat, peaked = torch.randn(4000) * 0.01, torch.randn(4000) * 8
    params = SamplingParams(temperature=1.0, top_p=0.9)
    jobs = [(params, [1], [], seed) for seed in (5, 6)]
    table, _, rows = table_of(jobs)
    both = sample(kernels, torch.stack([flat, peaked]), table, rows, table.columns["known"][rows], None).tokens.tolist()
    for i, logits in enumerate((flat, peaked)):
        weights = slow_weights(logits.double().tolist(), params, [1], [])
        token, near = slow_token(weights, slow_uniform(5 + i, 1))
        assert near or both[i] == token
        one = sample(kernels, logits[None], table, rows[i : i + 1], table.columns["known"][rows[i : i + 1]], None)
        assert int(one.tokens[0]) == both[i]
    assert sum(w > 0 for w in slow_weights(flat.double().tolist(), params, [1], [])) > 3000


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("params", [SamplingParams(temperature=0.0), SamplingParams(temperature=1.0, logprobs=1)])
@SETS
def test_one_jobs_bad_logits_are_said_and_hurt_nobody(kernels, bad, params):
    torch.manual_seed(0)
    logits = torch.randn(3, 9)
    table, _, rows = table_of([(params, [1], [], seed) for seed in range(3)])
    fine = sample(kernels, logits, table, rows, table.columns["known"][rows], None)
    logits[1, 4] = bad
    hurt = sample(kernels, logits, table, rows, table.columns["known"][rows], None)
    assert hurt.finite.tolist() == [True, False, True]
    assert hurt.tokens[[0, 2]].tolist() == fine.tokens[[0, 2]].tolist()


@SETS
def test_a_tiny_temperature_is_greedy_not_broken(kernels):
    torch.manual_seed(0)
    logits = torch.randn(4, 50) * 30
    table, _, rows = table_of([(SamplingParams(temperature=1e-300), [1], [], seed) for seed in range(4)])
    sampled = sample(kernels, logits, table, rows, table.columns["known"][rows], None)
    assert sampled.tokens.tolist() == logits.argmax(-1).tolist()


@SETS
def test_columns_are_kept_while_the_jobs_are_the_same(kernels):
    """Steps of one batch, then another job on a row that was used before, other members, another
    order: the tokens of a fresh sampler each time.
    """
    torch.manual_seed(0)
    params = [SamplingParams(temperature=heat, top_k=k) for heat, k in ((1.0, 0), (0.0, 0), (2.0, 5))]
    table, _, rows = table_of([(one, [1], [], 50 + i) for i, one in enumerate(params)])
    found = REFERENCE if kernels == "torch" else kernels_for(torch.device("cpu"), torch.float32)
    kept, columns = Sampler(table, found, stay), []

    def step(rows, jobs=None):
        logits, positions = torch.randn(len(rows), 300), table.columns["known"][rows]
        got = kept.sample(logits, jobs or jobs_on(table, rows), positions, *stay(positions), None).tokens
        assert got.tolist() == sample(kernels, logits, table, rows, positions, None).tokens.tolist()
        columns.append(kept._kept.columns)
        table.columns["known"][rows] += 1

    jobs = jobs_on(table, rows)
    for _ in range(4):
        step(rows, jobs)
    assert all(one is columns[0] for one in columns), "brought to the device once"
    table.drop(2)
    table.admit(Admit(9, np.array([1], np.int32), 1, 1, Asked(SamplingParams(temperature=0.0)), 3), 3)
    assert table.rows_of(np.array([9])) == rows[2], "the row of the job that left"
    step(rows)
    step(rows[[1, 0]])
    step(rows[[0, 1]])
    step(rows)
    assert len({id(one) for one in columns}) == 5
