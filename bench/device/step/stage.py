"""What all cases share: a model on a device, its executor, the probes, numbers for jobs and moves.

Owns the sizes of the pools, which follow from the scenario, and the speeds of a round.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count as count_up

import numpy as np
import torch

from ....core.clock import Clock
from ....core.errors import InvalidInput, InvalidSettings
from ....core.executor import ExecutorFacts
from ....core.plan import Int32s
from ....executor.capacity import pool_shape
from ....model.presets import preset_named, random_model
from ....model.weights.loaded import LoadedModel
from ..race import SAMPLE_NS, runs_of_a_sample, timed
from ..roofline import Probe, probes
from .marked import MarkedExecutor, Times, times_of
from .scenario import Case, Idle, Moves, StepScenario

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
    times = times_of(device, clock)
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
