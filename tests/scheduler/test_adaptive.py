"""What the adaptive ladder promises: the paper's levels while nothing is learned, then levels of
what is left, and head starts that are bounded.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from skipjoin.core.errors import InvalidSettings
from skipjoin.core.ids import Handle
from skipjoin.core.policy import JobAttributes, Policy, Tick
from skipjoin.cost.linear import LinearCostModel
from skipjoin.cost.online import CorrectedCostModel, OnlineCorrection
from skipjoin.scheduler.adaptive.cells import rung_of
from skipjoin.scheduler.adaptive.demand import Demand
from skipjoin.scheduler.adaptive.demand_table import CLASS_EDGES, SHARES, DemandTable, class_of, middle
from skipjoin.scheduler.adaptive.head_start import OutstandingWork, scale_of
from skipjoin.scheduler.adaptive.policy import AdaptivePolicy
from skipjoin.scheduler.lengths.hazards import BINS, EDGES, LengthParams, Lengths, bin_of
from skipjoin.scheduler.mlfq import MlfqPolicy

MS = 1_000_000
COST = LinearCostModel(18.0 * MS, 0.1 * MS, 5.0, 900.0, 0.01 * MS)
DEMAND = Demand(COST, 64, 66_000)
T0 = Tick(0, 0, 0)


def attributes(handle: int, prompt: int, arrival: int = 0) -> JobAttributes:
    return JobAttributes(Handle(handle), arrival, prompt, prompt, COST.prompt_ns(prompt), 10_000)


def policy(tail: float = 0.5) -> AdaptivePolicy:
    return AdaptivePolicy(COST, DEMAND, tail=tail)


def levels(subject: Policy, prompt: int, pauses: list[int]) -> list[int]:
    """The levels of one job: it prefills, decodes in stints of `pauses` steps and waits in between."""
    tick = T0
    handle = Handle(1)
    out = [subject.submitted(attributes(1, prompt), tick)]
    subject.join(handle, tick)
    subject.charge(handle, COST.chunk_ns(prompt, 0), prompt, tick)
    for steps in pauses:
        subject.decoding(handle, tick)
        for _ in range(steps):
            tick = Tick(tick.now_ns + 20 * MS, tick.decode_ns + 20 * MS, tick.steps + 1)
            crossing = subject.next_crossing_ns()
            if crossing is not None and crossing <= tick.decode_ns:
                out += [int(change.new) for change in subject.advance(tick)]
        subject.leave(handle, tick)
        out += [int(change.new) for change in subject.advance(tick)]
        subject.join(handle, tick)
    return out


@pytest.mark.parametrize("prompt", [3, 16, 200, 512, 1_024, 9_000])
def test_with_nothing_learned_levels_are_those_of_skipjoin(prompt: int) -> None:
    rng = np.random.default_rng(prompt)
    pauses = rng.integers(1, 60, 12).tolist()
    expected = levels(MlfqPolicy("skipjoin", COST, starvation="off"), prompt, pauses)
    assert levels(policy(), prompt, pauses) == expected
    assert len(expected) > 3 or prompt == 9_000


def taught(short: int, long: int, tail: float = 0.5) -> AdaptivePolicy:
    """Prompts of 100 tokens are answered in `short` tokens, prompts of 1,000 in `long`."""
    subject = policy(tail)
    tick = T0
    for number in range(400):
        prompt, tokens = ((100, short), (1000, long))[number % 2]
        handle = Handle(number)
        subject.submitted(attributes(number, prompt, tick.now_ns), tick)
        subject.join(handle, tick)
        subject.charge(handle, COST.chunk_ns(prompt, 0), prompt, tick)
        subject.decoding(handle, tick)
        done = tokens - 1
        tick = Tick(tick.now_ns + done * 20 * MS, tick.decode_ns + done * 20 * MS, tick.steps + done)
        subject.removed(handle, tick, finished=True)
    return subject


def now(subject: AdaptivePolicy) -> Tick:
    return Tick(10**15, 10**15, 10**7)


def test_a_short_answer_outranks_an_earlier_long_one_even_of_the_same_prompt_cost() -> None:
    subject = taught(short=20, long=2000)
    tick = now(subject)
    assert subject.submitted(attributes(1001, 1000, tick.now_ns - 1000 * MS), tick) > subject.submitted(
        attributes(1002, 100, tick.now_ns), tick
    )
    assert [handle for _, handle in subject.order(tick)] == [1002, 1001]


def test_a_cancelled_job_teaches_nothing_about_its_end() -> None:
    subject = policy()
    for number in range(50):
        subject.submitted(attributes(number, 100), T0)
        subject.removed(Handle(number), T0, finished=False)
    assert subject.forecast.rebuilds == 0
    for number in range(8):
        subject.submitted(attributes(number, 100), T0)
        subject.removed(Handle(number), T0)
    assert subject.forecast.rebuilds == 1


def test_no_job_waits_for_ever_behind_newcomers() -> None:
    """A head start is at most W * ln(W / x): a job older than that comes before anybody new."""
    subject = taught(short=20, long=2000)
    tick = now(subject)
    subject.submitted(attributes(5000, 1000, tick.now_ns), tick)
    for number in range(200):
        tick = tick._replace(now_ns=tick.now_ns + 1000 * MS)
        subject.submitted(attributes(6000 + number, 100, tick.now_ns), tick)
        first = next(iter(subject.order(tick)))[1]
        if first == 5000:
            break
        subject.removed(first, tick, finished=False)
    assert number < 199
    assert first == 5000


def test_a_runner_yields_only_to_a_clearly_better_rival() -> None:
    subject = taught(short=100, long=2000)
    tick = now(subject)
    subject.submitted(attributes(1, 100, tick.now_ns), tick)
    subject.submitted(attributes(2, 100, tick.now_ns - 10 * MS), tick)
    assert next(iter(subject.order(tick)))[1] == 2
    subject.join(Handle(1), tick)
    assert next(iter(subject.order(tick)))[1] == 1


def test_prices_are_the_least_ratio_of_demand_to_success_over_all_horizons() -> None:
    lengths = Lengths(LengthParams(rebuild_every=1))
    bucket = lengths.bucket(300)
    for tokens in np.random.default_rng(3).geometric(1 / 150, 300).tolist():
        lengths.passed(bucket, 0, bin_of(tokens - 1))
        if lengths.ended(bucket, bin_of(tokens - 1)):
            lengths.rebuild()
    table, prompt_class = DemandTable(DEMAND, lengths), class_of(300)
    prompt, hazards = middle(prompt_class), lengths.hazards[bucket]
    for quarters, age_bin in ((0, 0), (4, 0), (1, 0), (0, 9), (0, BINS - 1)):
        left = -(-prompt * quarters // SHARES)
        spent, alive, best = float(DEMAND.prefill_ns(left, prompt - left)), 1.0, float("inf")
        for k in range(age_bin, BINS):
            width = EDGES[k + 1] - EDGES[k] if k + 1 < BINS else EDGES[-1] // 4
            spent += alive * (1 - hazards[k] / 2) * DEMAND.decode_ns(width, prompt + EDGES[k])
            alive *= 1 - hazards[k]
            best = min(best, spent / (1 - alive))
        price = table.price(prompt_class, quarters, age_bin)
        assert price.index_ns == pytest.approx(best, rel=1e-9, abs=1.0)
        assert price.expected_ns == pytest.approx(spent, rel=1e-9, abs=1.0)


def lived(ends: list[int], bucket: int) -> Lengths:
    """Lives that ended after so many tokens each, counted until what was believed before no longer
    shows.
    """
    lengths = Lengths(LengthParams(rebuild_every=1, shrinkage=1e-9, memory=1e9))
    for tokens in ends:
        lengths.passed(bucket, 0, bin_of(tokens - 1))
        lengths.ended(bucket, bin_of(tokens - 1))
    lengths.rebuild()
    return lengths


@pytest.mark.parametrize("width_ms", [50.0, 2_000.0, 1e5])
def test_the_head_start_of_a_known_length_is_the_boost_of_its_demand(width_ms: float) -> None:
    prompt_class = class_of(300)
    prompt, bucket, width_ns = middle(prompt_class), Lengths().bucket(300), width_ms * MS
    last = bin_of(400)
    table = DemandTable(DEMAND, lived([400] * 50_000, bucket))
    demand = float(DEMAND.prefill_ns(prompt, 0))
    for k in range(last + 1):
        bin_ns = DEMAND.decode_ns(EDGES[k + 1] - EDGES[k], prompt + EDGES[k])
        demand += bin_ns / 2 if k == last else bin_ns
    start = table.head_start(prompt_class, SHARES, 0, width_ns=width_ns)
    assert start == pytest.approx(-np.log(-np.expm1(-demand / width_ns)), rel=0.02, abs=1e-4)


def test_a_head_start_is_the_best_discounted_reward_over_all_horizons() -> None:
    """By definition, life by life: E[exp(S/W) of those who end by m] over E[exp(min(S, m)/W) - 1],
    at the best m.
    """
    prompt_class = class_of(300)
    prompt, bucket, width_ns = middle(prompt_class), Lengths().bucket(300), 3e9
    ends = np.random.default_rng(5).choice([10, 60, 1_500, 6_000], 20_000, p=[0.3, 0.4, 0.2, 0.1]).tolist()
    table = DemandTable(DEMAND, lived(ends, bucket))
    passed = [float(DEMAND.decode_ns(b - a, prompt + a)) for a, b in pairwise(EDGES)]
    until = np.concatenate(([0.0], np.cumsum(passed)))
    bins = np.array([bin_of(tokens - 1) for tokens in ends])
    lives = (until[bins] + until[bins + 1]) / 2 / width_ns
    best = 0.0
    for m in sorted(set(bins.tolist())):
        ended, cut = bins <= m, until[m + 1] / width_ns
        reward = np.exp(lives[ended]).sum()
        best = max(best, reward / (np.expm1(lives[ended]).sum() + np.expm1(cut) * (~ended).sum()))
    assert table.head_start(prompt_class, 0, 0, width_ns=width_ns) == pytest.approx(np.log(best), rel=0.01)


def test_the_wider_the_scale_the_closer_head_starts_come_to_the_index() -> None:
    """W without bound: the differences of head starts are those of the logarithm of the Gittins
    index.
    """
    bucket = Lengths().bucket(300)
    table = DemandTable(DEMAND, lived(np.random.default_rng(6).geometric(1 / 300, 5_000).tolist(), bucket))
    prompt_class = class_of(300)
    width_ns = 1e18
    for age_bin in (0, 6, 15):
        index_ns = table.price(prompt_class, 0, age_bin).index_ns
        start = table.head_start(prompt_class, 0, age_bin, width_ns=width_ns)
        assert start == pytest.approx(np.log(width_ns / index_ns), abs=1e-3)


@pytest.mark.parametrize(("first", "second"), [(300, 9_000), (9_000, 300)])
def test_what_a_corrected_cost_model_predicts_later_prices_all_classes_alike(first: int, second: int) -> None:
    correction = OnlineCorrection()
    table = DemandTable(Demand(CorrectedCostModel(COST, correction), 64, 66_000), Lengths())
    before = table.price(class_of(first), 0, 0).index_ns
    for _ in range(4_000):
        correction.observe(100, 300)
    table.clear()
    plain = DemandTable(DEMAND, Lengths())
    for prompt in (second, first):
        wanted = plain.price(class_of(prompt), 0, 0).index_ns * correction.factor
        assert table.price(class_of(prompt), 0, 0).index_ns == pytest.approx(wanted, rel=1e-3)
    assert table.price(class_of(first), 0, 0).index_ns == pytest.approx(3 * before, rel=0.02)


@pytest.mark.parametrize(
    ("batch", "room", "spare"), [(64, 66_000, 48), (64, None, 48), (8, 624, 9), (256, 66_000, 32), (8, 8, 1)]
)
def test_room_for_growth_leaves_a_small_pool_in_use(batch: int, room: int | None, spare: int) -> None:
    assert AdaptivePolicy(COST, Demand(COST, batch, room)).admission.spare_tokens == spare


def test_classes_lie_in_one_bucket_each() -> None:
    lengths = Lengths()
    for first, end in pairwise(CLASS_EDGES):
        assert lengths.bucket(first) == lengths.bucket(end - 1) == lengths.bucket(middle(class_of(first)))


def test_rungs_are_rounded_doublings() -> None:
    assert [rung_of(x, 100) for x in (35, 36, 70, 71, 100, 141, 142, 200, 282, 283)] == [-1, 0, 0, 1, 1, 1, 2, 2, 2, 3]


def test_head_starts_follow_the_peak_of_the_backlog_and_fade() -> None:
    outstanding = OutstandingWork(10 * MS, tail=1.0)
    outstanding.work_ns = 10_000 * MS
    outstanding.settle(0)
    first = outstanding.boost_ns(1)
    assert first == pytest.approx(600 * MS * np.log(1 / (1 - np.exp(-10 / 600))), rel=1e-6)
    outstanding.work_ns = 0
    outstanding.settle(25_000 * MS)  # the peak has sunk by a fifth of that, to a half
    assert outstanding.boost_ns(1) < 0.6 * first
    outstanding.settle(60_000 * MS)
    assert outstanding.boost_ns(1) == 0


def test_the_dial_runs_from_no_bound_to_a_sixteenth_of_the_outstanding_work() -> None:
    assert [scale_of(tail) for tail in (1.0, 0.5)] == pytest.approx([0.06, 0.48])
    assert scale_of(0.0) >= scale_of(0.02) > 100
    for wrong in (-0.1, 1.1, float("nan"), True, "1"):
        with pytest.raises(InvalidSettings, match="tail"):
            scale_of(wrong)  # type: ignore[arg-type]


def test_turning_the_dial_reorders_at_once() -> None:
    subject = taught(short=20, long=2000, tail=1.0)
    tick = now(subject)
    subject.submitted(attributes(1, 1000, tick.now_ns - 5_000 * MS), tick)
    subject.submitted(attributes(2, 100, tick.now_ns), tick)
    assert next(iter(subject.order(tick)))[1] == 1
    version = subject.version
    subject.set_tail(0.0, tick)
    assert next(iter(subject.order(tick)))[1] == 2
    assert subject.version > version
