"""A rehearsal on an executor whose costs are known finds them, and leaves nothing behind."""

from __future__ import annotations

from dataclasses import replace

import pytest

from skipjoin.core.clock import ManualClock
from skipjoin.core.errors import InvalidProfile
from skipjoin.core.executor import ExecutorFacts
from skipjoin.cost.linear import LinearCostModel
from skipjoin.cost.sweep_row import SweepRow
from skipjoin.profiler.measure import Sweep, measure, profile_of
from skipjoin.profiler.rehearsal import rehearse, rehearsed
from skipjoin.sim.executor import SimExecutor
from skipjoin.sim.strict import StrictExecutor

TRUTH = LinearCostModel(5e6, 2e5, 300.0, 2e3, 1e5, 1e3)
FACTS = ExecutorFacts(
    generation=1,
    device_pages=64,
    host_pages=600,
    page_tokens=16,
    page_bytes=16 << 10,
    max_context_tokens=2_048,
    vocab_size=300,
)


def swept(clock: ManualClock) -> tuple[StrictExecutor, Sweep]:
    executor = StrictExecutor(SimExecutor(TRUTH, FACTS, clock))
    executor.start()
    return executor, measure(executor, FACTS, clock, max_batch=4, budget_s=30.0)


def test_a_rehearsal_mixes_batches_moves_pages_and_times_both() -> None:
    clock = ManualClock(0)
    executor, sweep = swept(clock)
    profile = profile_of(sweep, FACTS, model_name="m", device="cpu", dtype="float32")
    shares: list[float] = []
    rows = rehearse(executor, FACTS, profile.model, clock, max_batch=4, seconds=20.0, progress=shares.append)
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert any(row.chunks and row.decode_jobs for row in rows)
    assert max(row.decode_jobs for row in rows) == 4
    fitted = rehearsed(profile, sweep.rows, rows)
    for name in ("fixed_ns", "prefill_token_ns", "prefill_pair_ns"):
        assert getattr(fitted.model, name) == pytest.approx(getattr(TRUTH, name), rel=0.05), name
    # A job more in a batch costs a fiftieth of an iteration: what counts is what it makes of the
    # whole.
    for jobs in (1, 4):
        assert fitted.model.decode_ns(jobs, 100 * jobs) == pytest.approx(TRUTH.decode_ns(jobs, 100 * jobs), rel=0.03)
    assert fitted.model.move_token_ns == profile.model.move_token_ns
    again = ManualClock(0)
    second, sweep = swept(again)
    assert rehearse(second, FACTS, profile.model, again, max_batch=4, seconds=20.0) == rows


@pytest.mark.parametrize("most", [16, 48])
def test_a_rehearsal_keeps_to_the_longest_chunk_that_is_measured(most: int) -> None:
    clock = ManualClock(0)
    executor = SimExecutor(TRUTH, FACTS, clock)
    executor.start()
    rows = rehearse(executor, FACTS, TRUTH, clock, max_batch=4, max_prefill_tokens=most, seconds=10.0)
    assert max(sum(length for length, _ in row.chunks) for row in rows) == most


def test_the_engines_own_work_is_in_the_fitted_profile() -> None:
    clock = ManualClock(0)
    executor, sweep = swept(clock)
    profile = profile_of(sweep, FACTS, model_name="m", device="cpu", dtype="float32")
    rows = rehearse(executor, FACTS, profile.model, clock, max_batch=4, seconds=20.0)
    slower = [replace(row, measured_ns=row.measured_ns + 1_000_000) for row in rows]
    fitted = rehearsed(profile, (), slower)
    predicted = sum(fitted.model.iteration_ns(row.chunks, row.decode_jobs, row.decode_contexts) for row in slower)
    assert predicted == pytest.approx(sum(row.measured_ns for row in slower), rel=1e-6)
    assert fitted.model.fixed_ns == pytest.approx(TRUTH.fixed_ns + 1e6, rel=0.02)


def test_an_interruption_counts_in_the_sum_and_hardly_in_the_shape() -> None:
    shapes = [((), jobs, jobs * context) for jobs in range(1, 9) for context in (50, 200, 400)] * 4
    shapes += [(((tokens, before),), jobs, jobs * 100) for tokens in (16, 64) for before in (0, 64) for jobs in (0, 3)]
    rows = [SweepRow(chunks, jobs, ctx, TRUTH.iteration_ns(chunks, jobs, ctx)) for chunks, jobs, ctx in shapes]
    clock = ManualClock(0)
    profile = profile_of(swept(clock)[1], FACTS, model_name="m", device="cpu", dtype="float32")
    rows[0] = replace(rows[0], measured_ns=rows[0].measured_ns * 6)
    fitted = rehearsed(profile, (), rows)
    predicted = sum(fitted.model.iteration_ns(row.chunks, row.decode_jobs, row.decode_contexts) for row in rows)
    assert predicted == pytest.approx(sum(row.measured_ns for row in rows), rel=1e-6)
    shape = TRUTH.decode_ns(8, 800) / TRUTH.decode_ns(1, 100)
    assert fitted.model.decode_ns(8, 800) / fitted.model.decode_ns(1, 100) == pytest.approx(shape, rel=0.05)


def test_prompts_and_decodes_take_each_what_they_took() -> None:
    """A line fits neither kind: what is right in the sum of all must not be wrong for work of
    mostly prompts.
    """
    rows = [
        SweepRow((), jobs, jobs * context, round(TRUTH.decode_ns(jobs, jobs * context) * (1.3 if jobs > 4 else 1.0)))
        for jobs in range(1, 9)
        for context in (50, 200, 400)
    ]
    for tokens, before, jobs in (
        (16, 0, 0),
        (64, 0, 0),
        (128, 0, 0),
        (64, 64, 0),
        (16, 0, 3),
        (64, 64, 3),
        (128, 0, 6),
    ):
        took_ns = TRUTH.iteration_ns(((tokens, before),), jobs, jobs * 100)
        rows += [SweepRow(((tokens, before),), jobs, jobs * 100, round(took_ns * (0.7 if tokens == 128 else 1.1)))] * 3
    clock = ManualClock(0)
    profile = profile_of(swept(clock)[1], FACTS, model_name="m", device="cpu", dtype="float32")
    model = rehearsed(profile, (), rows).model
    for kind in ([row for row in rows if not row.chunks], [row for row in rows if row.chunks], rows):
        predicted = sum(model.iteration_ns(row.chunks, row.decode_jobs, row.decode_contexts) for row in kind)
        assert predicted == pytest.approx(sum(row.measured_ns for row in kind), rel=1e-6)


def test_too_short_a_rehearsal_is_refused() -> None:
    clock = ManualClock(0)
    executor, sweep = swept(clock)
    profile = profile_of(sweep, FACTS, model_name="m", device="cpu", dtype="float32")
    with pytest.raises(InvalidProfile, match="rehearsed"):
        rehearse(executor, FACTS, profile.model, clock, max_batch=4, seconds=0.01)


def test_the_executor_is_left_empty() -> None:
    clock = ManualClock(0)
    executor, sweep = swept(clock)
    profile = profile_of(sweep, FACTS, model_name="m", device="cpu", dtype="float32")
    rehearse(executor, FACTS, profile.model, clock, max_batch=4, seconds=5.0)
    # A strict executor refuses pages that somebody still holds: a second rehearsal needs every one
    # of them.
    rehearse(executor, FACTS, profile.model, clock, max_batch=4, seconds=5.0)
