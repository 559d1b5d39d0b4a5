"""What all cases share: a model on a device, its executor, the probes beside it, numbers for jobs and moves.

Owns the sizes of the pools, which follow from the scenario, and the speeds of a round. It does not know what is measured; `study` opens it, the
cases work on it one after the other.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count as count_up

import numpy as np
import torch

from ...core.clock import Clock
from ...core.errors import InvalidInput, InvalidSettings
from ...core.executor import ExecutorFacts
from ...core.plan import Int32s
from ...executor.capacity import pool_shape
from ...model.presets import preset_named, random_model
from ...model.weights.loaded import LoadedModel
from ..kernels.race import SAMPLE_NS, timed
from ..kernels.speeds import Probe, probes
from .marked import MarkedExecutor
from .scenario import Case, Idle, Moves, Prefill, StepScenario, most_tokens
from .times import Times, times_of

PAGE_TOKENS = 16
DIRECTIONS = 2


@dataclass(slots=True)
class Stage:
    """`ahead`: a second plan is launched before the first is answered, as a server does where the device computes by itself."""

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
                timed(run, 1, device, self.clock)  # set-up is nobody's time
                self._often[name] = max(1, self.sample_ns // max(timed(run, 1, device, self.clock), 1))
            often = self._often[name]
            measured[name] = often * probe.amount / max(timed(run, often, device, self.clock), 1)
            self.seen[name].append(measured[name])
        return measured

    def scattered(self, start: int, count: int) -> Int32s:
        """int32[count]: the slots [start, start + count), in no order."""
        return (start + np.random.default_rng(count).permutation(count)).astype(np.int32)


@contextmanager
def staged(scenario: StepScenario, device: torch.device, dtype: torch.dtype, clock: Clock) -> Iterator[Stage]:
    """The model drawn, the executor started and its pages full of numbers. Raises InvalidSettings, InvalidInput, InvalidModel."""
    refuse_unknown(scenario.model)
    check_contexts(scenario)
    model = random_model(scenario.model, device, dtype)
    most = scenario.most_jobs
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
            f"Beside the model and its pages {device} has no memory left for a copy to compare with; take shorter contexts or smaller batches.",
            field="scenario",
        ) from full


def refuse_unknown(name: str) -> None:
    """Raises InvalidSettings for a model that is no preset."""
    try:
        preset_named(name)
    except InvalidInput as bad:
        raise InvalidSettings(
            f"The scenario's model is {name[:40]!r}, which is no preset.", field="model", limit=bad.limit
        ) from None


def check_contexts(scenario: StepScenario) -> None:
    """Raises InvalidSettings where jobs would be longer than the model's context."""
    limit = preset_named(scenario.model).max_context_tokens
    for case in scenario.cases:
        if most_tokens(case) > limit:
            raise InvalidSettings(
                f"{case.name}: a job would have {most_tokens(case):,} tokens, prompt and output.",
                field="cases",
                limit=f"the {limit:,} of {scenario.model}",
            )


def room(case: Case) -> tuple[int, int]:
    """Pages that a case needs on the device and on the host."""
    jobs = 1 if isinstance(case, Prefill) else case.batch
    pages = jobs * pages_of_job(most_tokens(case))
    if isinstance(case, Moves):
        moved = DIRECTIONS * case.in_flight * case.pages
        return pages + moved, moved
    if isinstance(case, Idle):
        return pages + pages // 8, 1  # no job shall ever wait for room
    return pages, 1


def pages_of_job(tokens: int) -> int:
    """Whole pages."""
    return -(-tokens // PAGE_TOKENS)
