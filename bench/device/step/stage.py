"""What all cases share: a model on a device, its executor with marks around the device's work, the
probes, numbers for jobs and moves.

Owns the sizes of the pools, which follow from the scenario, the speeds of a round, and the two ways
to mark when the device did what. Plans are carried out as ever.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count as count_up
from typing import Any

import numpy as np
import torch

from ....core.clock import Clock
from ....core.errors import InvalidInput, InvalidSettings
from ....core.executor import ExecutorFacts
from ....core.plan import Int32s, IterationPlan
from ....executor.batch import Batch
from ....executor.capacity import pool_shape
from ....executor.runner import TorchExecutor
from ....executor.sampling.sampler import SampledTokens
from ....kvstore.device.pool import PoolShape
from ....model.decoder import ForwardBatch
from ....model.presets import preset_named, random_model
from ....model.weights.loaded import LoadedModel
from ..race import SAMPLE_NS, Probe, probes, runs_of_a_sample, timed
from .scenario import Case, Idle, Moves, StepScenario


@dataclass(frozen=True, slots=True)
class Mark:
    """A point in the order of the device's work: an event of CUDA, else a reading of the clock."""

    at: Any

    def ns_until(self, later: Mark) -> float:
        """Nanoseconds from here to a later mark. The device must have come to it: call `Times.wait`
        first.
        """
        if isinstance(self.at, int):
            return float(later.at - self.at)
        return float(self.at.elapsed_time(later.at)) * 1e6  # milliseconds


class Times:
    """The marks of one device: where it computes by itself it writes down when it came to them,
    however far ahead the host is.
    """

    def __init__(self, device: torch.device, clock: Clock) -> None:
        self._device = device
        self._clock = clock

    def mark(self) -> Mark:
        """A mark behind everything that the device has been given, in front of everything that it
        will be.
        """
        if self._device.type != "cuda":
            return Mark(self._clock.now_ns())
        event = torch.cuda.Event(enable_timing=True)
        # The current stream is where the executor launches; the mover's streams are beside it.
        event.record(torch.cuda.current_stream(self._device))
        return Mark(event)

    def wait(self) -> None:
        """Until the device has nothing to do: copies on their way are over, too."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)


@dataclass(frozen=True, slots=True)
class Iteration:
    """`begun` before the forward pass, `forwarded` behind it, `ended` when tokens are on the host."""

    decodes: int
    prefills: int
    begun: Mark
    forwarded: Mark
    ended: Mark


class MarkedExecutor(TorchExecutor):
    """`iterations` that computed, in order; what measures empties it.

    The first mark is set where the host has prepared everything, so that on an idle device its time
    is not taken for work. The copy of the batch's indices lies in front of it, some microseconds.
    """

    def __init__(self, model: LoadedModel, pool: PoolShape, times: Times, graph_rows: int) -> None:
        super().__init__(model, pool, graph_rows=graph_rows)
        self._times = times
        self._forward_marks: tuple[Mark, Mark] | None = None
        self.iterations: list[Iteration] = []

    def _forward(self, batch: ForwardBatch) -> Any:
        begun = self._times.mark()
        logits = super()._forward(batch)
        self._forward_marks = begun, self._times.mark()
        return logits

    def _sample(self, plan: IterationPlan, batch: Batch, logits: Any) -> SampledTokens | None:
        sampled = super()._sample(plan, batch, logits)
        assert self._forward_marks is not None, "an iteration is computed before it is sampled"
        begun, forwarded = self._forward_marks
        self.iterations.append(Iteration(len(plan.decode), len(plan.prefills), begun, forwarded, self._times.mark()))
        return sampled


PAGE_TOKENS = 16
DIRECTIONS = 2


@dataclass(slots=True)
class Stage:
    """`ahead`: a second plan is launched before the first is done, as a server does on a GPU."""

    model: LoadedModel
    executor: MarkedExecutor
    facts: ExecutorFacts
    times: Times
    clock: Clock
    ahead: bool
    ceilings: dict[str, Probe]
    seen: dict[str, list[float]]
    sample_ns: int = SAMPLE_NS
    numbers: Iterator[int] = field(default_factory=count_up)
    _often: dict[str, int] = field(default_factory=dict)

    def speeds(self) -> dict[str, float]:
        """Bytes or operations a nanosecond, now: a sample of each probe, one after the other."""
        device, measured = self.model.device, {}
        for name, probe in self.ceilings.items():
            run = probe.contestant.run
            if name not in self._often:
                self._often[name] = runs_of_a_sample(run, device, self.clock, self.sample_ns)
            often = self._often[name]
            measured[name] = often * probe.amount / max(timed(run, often, device, self.clock), 1)
            self.seen[name].append(measured[name])
        return measured

    def scattered(self, start: int, count: int) -> Int32s:
        """int32[count]: the slots [start, start + count), in no order."""
        return (start + np.random.default_rng(count).permutation(count)).astype(np.int32)


@contextmanager
def staged(scenario: StepScenario, device: torch.device, dtype: torch.dtype, clock: Clock) -> Iterator[Stage]:
    """The model drawn, the executor started, its pages full of numbers. Raises SkipjoinError."""
    check_model(scenario)
    model = random_model(scenario.model, device, dtype)
    most = max(case.batch for case in scenario.cases)
    pages, host_pages = (max(sizes) for sizes in zip(*map(room, scenario.cases), strict=True))
    shape = pool_shape(
        model,
        kv_tokens=pages * PAGE_TOKENS,
        host_kv_tokens=host_pages * PAGE_TOKENS,
        max_batch=most,
        page_tokens=PAGE_TOKENS,
    )
    times = Times(device, clock)
    executor = MarkedExecutor(model, shape, times, graph_rows=most)
    try:
        facts = executor.start()
        # Zeros would be read and multiplied with less power than numbers, and so faster.
        executor.pools.device.normal_()
        ceilings = _probes(device, dtype)
        yield Stage(
            model, executor, facts, times, clock, device.type == "cuda", ceilings, {name: [] for name in ceilings}
        )
    finally:
        executor.close()


def _probes(device: torch.device, dtype: torch.dtype) -> dict[str, Probe]:
    try:
        return probes(device, dtype)
    except torch.OutOfMemoryError as full:
        raise InvalidInput(
            f"Beside the model and its pages {device} has no memory left for a copy to compare with; "
            "take shorter contexts or smaller batches.",
            field="scenario",
        ) from full


def check_model(scenario: StepScenario) -> None:
    """Raises InvalidSettings for a model that is no preset, and where jobs would be longer than its
    context.
    """
    try:
        limit = preset_named(scenario.model).max_context_tokens
    except InvalidInput as bad:
        what = f"The scenario's model is {scenario.model[:40]!r}, which is no preset."
        raise InvalidSettings(what, field="model", limit=bad.limit) from None
    for case in scenario.cases:
        if case.most_tokens > limit:
            what = f"{case.name}: a job would have {case.most_tokens:,} tokens, prompt and output."
            raise InvalidSettings(what, field="cases", limit=f"the {limit:,} of {scenario.model}")


def room(case: Case) -> tuple[int, int]:
    """Pages that a case needs on the device and on the host."""
    pages = case.batch * pages_of_job(case.most_tokens)
    if isinstance(case, Moves):
        moved = DIRECTIONS * case.in_flight * case.pages
        return pages + moved, moved
    # In the engine's own loop no job shall ever wait for room.
    return (pages + pages // 8 if isinstance(case, Idle) else pages), 1


def pages_of_job(tokens: int) -> int:
    """Whole pages."""
    return -(-tokens // PAGE_TOKENS)
