"""A rehearsal: what the engine's own turns take over a live executor, against what a profile says.

A sweep times iterations of one kind each, by the executor's stamps. An engine's iteration is planned, its batch is mixed, pages move beside it and
its effects are encoded, so its wall time is another. Owns jobs of its own making and one factor; it fits nothing. `profile measure` calls it last.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from ..core.clock import Clock
from ..core.errors import InvalidProfile
from ..core.events import CancelRequested, Event, Submitted
from ..core.ids import Handle
from ..core.plan import IterationPlan
from ..core.ports import CostModel, Executor, ExecutorFacts
from ..core.sampling import SamplingParams
from ..engine.assemble import assemble
from ..engine.params import EngineParams
from ..engine.turn import Turn
from ..proto.link import encode_effects
from .model import LinearCostModel
from .schema import Profile

FIRST_HANDLE = 1 << 40  # the sweep's lie below
JOBS_PER_SLOT = 3  # live jobs for each slot of the batch: enough that some wait and some are preempted
MEAN_SHARE = 6.0  # the pool holds so many mean jobs
LONGEST_MEAN = 512
OUTPUT_SHARE = 0.4
WARM_UP = 0.1
LONGEST_PAUSE = (
    8.0  # an iteration that takes longer than this many times its prediction was interrupted by somebody else
)
LEAST = 16


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """How many iterations counted, and wall time over prediction, sum over sum."""

    iterations: int
    factor: float


def rehearse(
    executor: Executor,
    facts: ExecutorFacts,
    cost: CostModel,
    clock: Clock,
    *,
    max_batch: int,
    seconds: float,
    progress: Callable[[float], None] = lambda share: None,
) -> Rehearsal:
    """Run jobs through a real turn for about `seconds`. `executor` is started and idle, and is left empty.

    Raises InvalidProfile when the time or the pool was too small for a figure.
    """
    troupe = _Troupe(facts, max_batch)
    turn = Turn(assemble("skipjoin", cost, facts, EngineParams(max_batch=max_batch)), executor, clock)
    begun_ns, length_ns = clock.now_ns(), int(seconds * 1e9)
    predicted_ns = wall_ns = counted = 0
    now_ns = begun_ns
    while now_ns < begun_ns + length_ns:
        step_ns = now_ns
        effects = turn.step(troupe.newcomers(len(turn.state.rows), now_ns))
        encode_effects(1, effects)
        now_ns = clock.now_ns()
        said_ns = effects.stats.predicted_ns
        if said_ns is not None and step_ns > begun_ns + WARM_UP * length_ns:
            predicted_ns += said_ns
            wall_ns += min(now_ns - step_ns, round(LONGEST_PAUSE * said_ns))
            counted += 1
        progress(min(1.0, (now_ns - begun_ns) / length_ns))
    events: list[Event] = [CancelRequested(handle) for handle in turn.state.rows]
    while events or turn.busy:
        turn.step(events)
        events = []
    executor.submit(IterationPlan(0, facts.generation, dropped=troupe.handles()))
    executor.poll(None)
    if counted < LEAST or not predicted_ns:
        raise InvalidProfile(
            f"Only {counted} iterations could be rehearsed.", field="budget_s", limit=f"time for {LEAST} iterations"
        )
    return Rehearsal(counted, wall_ns / predicted_ns)


class _Troupe:
    """Jobs without end: prompts uniform, outputs exponential, a sixth of the pool in the mean."""

    def __init__(self, facts: ExecutorFacts, max_batch: int) -> None:
        room = facts.device_pages * facts.page_tokens
        self._most = min(room, facts.max_context_tokens or room)
        self._mean = min(room / MEAN_SHARE, LONGEST_MEAN, self._most / 3)
        self._live = JOBS_PER_SLOT * max_batch
        self._vocabulary = facts.vocab_size
        self._draw = np.random.Generator(np.random.PCG64([0, 5]))
        self._count = 0

    def newcomers(self, live: int, now_ns: int) -> list[Event]:
        """As many as are missing."""
        return [self._job(now_ns) for _ in range(self._live - live)]

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
        return Submitted(handle, prompt, sampling, now_ns, prompt=tokens)


def rehearsed(profile: Profile, rehearsal: Rehearsal) -> Profile:
    """The profile with its iterations scaled to what they took in the rehearsal; the link stays as it was measured."""
    old, factor = profile.model, rehearsal.factor
    model = LinearCostModel(
        fixed_ns=old.fixed_ns * factor,
        prefill_token_ns=old.prefill_token_ns * factor,
        prefill_pair_ns=old.prefill_pair_ns * factor,
        decode_context_ns=old.decode_context_ns * factor,
        decode_job_ns=old.decode_job_ns * factor,
        move_token_ns=old.move_token_ns,
    )
    return replace(
        profile,
        model=model,
        source=f"{profile.source} Scaled by {factor:.3f}: {rehearsal.iterations} of the engine's own iterations around it.",
    )
