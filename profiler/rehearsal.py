"""A rehearsal: what the engine's own turns take over a live executor, and a profile fitted to that.

A sweep times iterations of one kind each, by the executor's stamps. An engine's iteration is
planned, its batch is mixed, pages move beside it and its effects are encoded, so its wall time is
another. Owns jobs of its own making and the rows that they give. `profile measure` calls it last.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from ..core.asked import Asked
from ..core.clock import Clock
from ..core.cost_model import CostModel
from ..core.errors import InvalidProfile
from ..core.events import CancelRequested, Event, Submitted
from ..core.executor import Executor, ExecutorFacts
from ..core.ids import Handle
from ..core.outcome import IterationOutcome
from ..core.plan import IterationPlan
from ..core.sampling import SamplingParams
from ..cost.linear import LinearCostModel
from ..cost.schema import Profile
from ..cost.sweep_row import SweepRow
from ..engine.assemble import assemble
from ..engine.params import EngineParams
from ..engine.turn import Turn
from ..proto.batches import encode_effects
from .fit import fit_cost_model

FIRST_HANDLE = 1 << 40  # the sweep's lie below
JOBS_PER_SLOT = (0.25, 0.5, 0.75, 1.0, 2.0, 3.0)
"""Open jobs for each slot of the batch, one after the other: a server has small batches too, and at
last some jobs wait and some are preempted.
"""
MEAN_SHARE = 6.0  # the pool holds so many mean jobs
LONGEST_MEAN = 512
OUTPUT_SHARE = 0.4
WARM_UP = 0.1
INTERRUPTED = 8.0  # whoever takes longer than this many times its prediction was interrupted by somebody else
LEAST = 16
MOST_APART = 1.5  # the factors of decodes and prompts from that of all


def rehearse(
    executor: Executor,
    facts: ExecutorFacts,
    cost: CostModel,
    clock: Clock,
    *,
    max_batch: int,
    max_prefill_tokens: int = 2048,
    seconds: float,
    progress: Callable[[float], None] = lambda share: None,
) -> tuple[SweepRow, ...]:
    """Run jobs through a real turn for about `seconds`: a row per iteration, with its wall time
    from drain to encoded effects.

    `executor` is started and idle, and is left empty. Raises InvalidProfile when the time or the
    pool was too small for a figure.
    """
    troupe, prompter = _Troupe(facts, max_batch), _Prompter(executor)
    params = EngineParams(max_batch=max_batch, max_prefill_tokens=max_prefill_tokens)
    turn = Turn(assemble("skipjoin", cost, facts, params), prompter, clock)
    running, rows = turn.state.planner.books.running, list[SweepRow]()
    begun_ns, length_ns = clock.now_ns(), int(seconds * 1e9)
    now_ns = begun_ns
    while now_ns < begun_ns + length_ns:
        step_ns = now_ns
        share = (now_ns - begun_ns) / length_ns
        effects = turn.step(troupe.newcomers(len(turn.state.rows), now_ns, share))
        contexts = running.context_sum
        encode_effects(1, effects)
        now_ns = clock.now_ns()
        plan, predicted_ns = prompter.last, effects.stats.predicted_ns
        if plan is not None and predicted_ns and step_ns > begun_ns + WARM_UP * length_ns:
            chunks = tuple((chunk.length, chunk.start) for chunk in plan.prefills)
            wall_ns = min(now_ns - step_ns, round(INTERRUPTED * predicted_ns))
            rows.append(SweepRow(chunks, len(plan.decode), contexts if len(plan.decode) else 0, wall_ns))
        progress(min(1.0, (now_ns - begun_ns) / length_ns))
    events: list[Event] = [CancelRequested(handle) for handle in turn.state.rows]
    while events or turn.busy:
        turn.step(events)
        events = []
    executor.submit(IterationPlan(0, facts.generation, dropped=troupe.handles()))
    executor.poll(None)
    if len(rows) < LEAST:
        raise InvalidProfile(
            f"Only {len(rows)} iterations could be rehearsed.", field="budget_s", limit=f"time for {LEAST} iterations"
        )
    return tuple(rows)


class _Prompter:
    """Passes everything on to an executor and knows the last plan that computed; None after one
    that did not.
    """

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self.last: IterationPlan | None = None

    def start(self) -> ExecutorFacts:
        return self._executor.start()

    def submit(self, plan: IterationPlan) -> None:
        self.last = plan if plan.computes else None
        self._executor.submit(plan)

    def poll(self, timeout_ns: int | None) -> IterationOutcome | None:
        return self._executor.poll(timeout_ns)

    def close(self) -> None:
        self._executor.close()


class _Troupe:
    """Jobs without end: prompts uniform, outputs exponential, a sixth of the pool in the mean."""

    def __init__(self, facts: ExecutorFacts, max_batch: int) -> None:
        room = facts.device_pages * facts.page_tokens
        self._most = min(room, facts.max_context_tokens or room)
        self._mean = min(room / MEAN_SHARE, LONGEST_MEAN, self._most / 3)
        self._live = [max(1, round(slot * max_batch)) for slot in JOBS_PER_SLOT]
        self._vocabulary = facts.vocab_size
        self._draw = np.random.Generator(np.random.PCG64([0, 5]))
        self._count = 0

    def newcomers(self, live: int, now_ns: int, share: float) -> list[Event]:
        """As many as are missing after `share` of the rehearsal."""
        wanted = self._live[min(int(share * len(self._live)), len(self._live) - 1)]
        return [self._job(now_ns) for _ in range(wanted - live)]

    def handles(self) -> tuple[Handle, ...]:
        """Everybody there was."""
        return tuple(Handle(FIRST_HANDLE + number) for number in range(self._count))

    def _job(self, now_ns: int) -> Submitted:
        share, wish = self._draw.random(2)
        prompt = max(1, round(2 * share * (1 - OUTPUT_SHARE) * self._mean))
        output = max(2, min(round(-np.log1p(-wish) * OUTPUT_SHARE * self._mean), self._most - prompt))
        tokens = (self._draw.random(prompt) * self._vocabulary).astype(np.int32)
        handle, self._count = Handle(FIRST_HANDLE + self._count), self._count + 1
        sampling = SamplingParams(temperature=0.0, seed=0, max_new_tokens=output, ignore_eos=True)
        return Submitted(handle, prompt, Asked(sampling), now_ns, prompt=tokens)


def rehearsed(profile: Profile, sweep: Sequence[SweepRow], rehearsal: Sequence[SweepRow]) -> Profile:
    """The profile fitted to sweep and rehearsal together, and scaled so that the rehearsal's
    decodes take what they took, and its prompts too.

    A fit of relative errors leans to what is quick (an interrupted iteration counts little), but a
    run lasts as long as the sum of its iterations. One factor for all would be that of the
    rehearsal's own mix, and wrong for work of mostly prompts. The link stays as it was measured.
    """
    model, fit = fit_cost_model([*sweep, *rehearsal], profile.model.move_token_ns)
    source = f"{profile.source} {len(rehearsal)} iterations are the engine's own, with its work around them."
    return replace(profile, model=summing(model, rehearsal), fit=fit, source=source)


def summing(model: LinearCostModel, rows: Sequence[SweepRow]) -> LinearCostModel:
    """`model` with its decode part and its chunks scaled, so that rows without chunks and all rows
    together take what they took.
    """
    measured = sum(row.measured_ns for row in rows)
    whole = measured / sum(model.iteration_ns(row.chunks, row.decode_jobs, row.decode_contexts) for row in rows)
    decodes = [row for row in rows if not row.chunks]
    decode = chunk = whole
    if len(decodes) >= LEAST:
        decode = sum(row.measured_ns for row in decodes) / sum(_decode_ns(model, row) for row in decodes)
        chunks_ns = sum(model.chunk_ns(*one) for row in rows for one in row.chunks)
        left_ns = measured - decode * sum(_decode_ns(model, row) for row in rows)
        chunk = left_ns / chunks_ns if chunks_ns else whole
        if not whole / MOST_APART <= chunk <= whole * MOST_APART:
            decode = chunk = whole  # too few of either to say
    return replace(
        model,
        fixed_ns=model.fixed_ns * decode,
        prefill_token_ns=model.prefill_token_ns * chunk,
        prefill_pair_ns=model.prefill_pair_ns * chunk,
        decode_context_ns=model.decode_context_ns * decode,
        decode_job_ns=model.decode_job_ns * decode,
    )


def _decode_ns(model: LinearCostModel, row: SweepRow) -> float:
    """The row without its chunks, what every iteration takes included."""
    return model.fixed_ns + model.decode_context_ns * row.decode_contexts + model.decode_job_ns * row.decode_jobs
