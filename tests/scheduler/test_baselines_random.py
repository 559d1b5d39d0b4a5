"""The baselines against slow, obvious models of themselves under random event streams.

The models keep plain lists, look at every job and add every decode step by hand; the machine that
plays the engine is test_random_events'.
"""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import settings
from hypothesis.stateful import rule

from skipjoin.core.ids import Handle
from skipjoin.core.policy import JobAttributes, Tick
from skipjoin.scheduler.adaptive.demand import Demand
from skipjoin.scheduler.oracles import standard_normal
from skipjoin.scheduler.registry import SLICE_QUANTA

from .test_random_events import BATCH, COST, ROOM, PolicyMachine, SlowFcfs, SlowJob, SlowPolicy

DEMAND = Demand(COST, BATCH, ROOM)
SLICE = SLICE_QUANTA * 103


def left(job: SlowJob, length: int) -> int:
    context = job.attributes.prompt_tokens + job.tokens
    decodes = length - job.tokens - job.prefilling
    return DEMAND.prefill_ns(job.left, max(0, context - job.left)) + DEMAND.decode_ns(decodes, context)


class SlowIndex(SlowPolicy):
    """Sorts all jobs by `index` whenever it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.begun: set[Handle] = set()

    def submitted(self, attributes: JobAttributes, tick: Tick) -> int:
        if attributes.generated_tokens:
            self.begun.add(attributes.handle)
        return super().submitted(attributes, tick)

    def join(self, handle: Handle, tick: Tick) -> None:
        super().join(handle, tick)
        self.begun.add(handle)

    def index(self, handle: Handle, job: SlowJob) -> tuple[Any, ...]:
        raise NotImplementedError

    def order(self, tick: Tick) -> list[Handle]:
        return sorted(self.jobs, key=lambda handle: (*self.index(handle, self.jobs[handle]), handle))


class SlowPriority(SlowIndex):
    def index(self, handle: Handle, job: SlowJob) -> tuple[Any, ...]:
        return job.attributes.asked.priority, job.attributes.arrival_ns


class SlowLas(SlowIndex):
    def __init__(self) -> None:
        super().__init__()
        self.due: dict[Handle, int] = {}  # service at which a decoding job's slice ends

    def index(self, handle: Handle, job: SlowJob) -> tuple[Any, ...]:
        return job.service // SLICE, job.attributes.arrival_ns

    def decoding(self, handle: Handle, tick: Tick) -> None:
        super().decoding(handle, tick)
        self.due[handle] = (self.jobs[handle].service // SLICE + 1) * SLICE

    def leave(self, handle: Handle, tick: Tick) -> None:
        super().leave(handle, tick)
        self.due.pop(handle, None)

    def removed(self, handle: Handle, tick: Tick) -> None:
        super().removed(handle, tick)
        self.due.pop(handle, None)

    def overdue(self) -> bool:
        return any(self.jobs[handle].service >= due for handle, due in self.due.items())

    def advance(self, tick: Tick) -> list[tuple[Any, ...]]:
        for handle, due in self.due.items():
            while due <= self.jobs[handle].service:
                due += SLICE
            self.due[handle] = due
        return []

    def next_crossing(self, tick: Tick) -> int | None:
        return min((tick.decode_ns + due - self.jobs[handle].service for handle, due in self.due.items()), default=None)


class SlowPs(SlowLas):
    def __init__(self) -> None:
        super().__init__()
        self.joined: dict[Handle, int] = {}

    def submitted(self, attributes: JobAttributes, tick: Tick) -> int:
        rounds = [self.index(handle, job)[0] for handle, job in self.jobs.items()]
        self.joined[attributes.handle] = min(rounds, default=0)
        return super().submitted(attributes, tick)

    def index(self, handle: Handle, job: SlowJob) -> tuple[Any, ...]:
        return self.joined[handle] + job.service // SLICE, job.attributes.arrival_ns


class SlowSjf(SlowIndex):
    def index(self, handle: Handle, job: SlowJob) -> tuple[Any, ...]:
        if handle in self.begun:
            return 0, job.attributes.arrival_ns
        return 1, left(job, job.attributes.output_tokens or 0)


class SlowEstimate(SlowIndex):
    def __init__(self, sigma: float, kept: float | None = None) -> None:
        super().__init__()
        self.sigma, self.kept = sigma, kept

    def index(self, handle: Handle, job: SlowJob) -> tuple[Any, ...]:
        guess = (job.attributes.output_tokens or 0) * math.exp(self.sigma * standard_normal(0, handle))
        length = max(1, round(guess))
        if self.kept is None:
            return (left(job, length),)
        return job.tokens < self.kept * length, left(job, length)


class SlowBoost(SlowIndex):
    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []
        self.starts: dict[Handle, int] = {}

    def submitted(self, attributes: JobAttributes, tick: Tick) -> int:
        level = super().submitted(attributes, tick)
        demand, size = left(self.jobs[attributes.handle], attributes.output_tokens or 0), 1
        while size <= demand:
            size *= 2
        self.sizes.append(size)
        scale = 100 * sum(self.sizes) / len(self.sizes)
        boost = scale * math.log(1 / -math.expm1(-size / scale))
        self.starts[attributes.handle] = attributes.arrival_ns - round(boost)
        return level

    def index(self, handle: Handle, job: SlowJob) -> tuple[Any, ...]:
        return (self.starts[handle],)


class SlowLines(SlowIndex):
    """What changes with time is taken at an arrival, a begin and an end."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: dict[Handle, Any] = {}

    def line(self, attributes: JobAttributes) -> Any:
        raise NotImplementedError

    def read(self, tick: Tick) -> None:
        raise NotImplementedError

    def submitted(self, attributes: JobAttributes, tick: Tick) -> int:
        self.lines[attributes.handle] = self.line(attributes)
        level = super().submitted(attributes, tick)
        self.read(tick)
        return level

    def join(self, handle: Handle, tick: Tick) -> None:
        begins = handle not in self.begun
        super().join(handle, tick)
        if begins:
            self.read(tick)

    def removed(self, handle: Handle, tick: Tick) -> None:
        self.read(tick)
        super().removed(handle, tick)


class SlowHrrn(SlowLines):
    def __init__(self) -> None:
        super().__init__()
        self.lengths = [256]
        self.now = 0

    def line(self, attributes: JobAttributes) -> int:
        tokens, size = sum(self.lengths) // len(self.lengths), 1
        while size <= DEMAND.prefill_ns(attributes.prompt_tokens, 0) + DEMAND.decode_ns(
            tokens, attributes.prompt_tokens
        ):
            size *= 2
        return size

    def read(self, tick: Tick) -> None:
        self.now = tick.now_ns

    def removed(self, handle: Handle, tick: Tick) -> None:
        self.lengths.append(self.jobs[handle].tokens)
        super().removed(handle, tick)

    def index(self, handle: Handle, job: SlowJob) -> tuple[Any, ...]:
        if handle in self.begun:
            return 0, job.attributes.arrival_ns
        ratio = (self.now - job.attributes.arrival_ns) * 1000 // self.lines[handle]
        return 1, -ratio, job.attributes.arrival_ns


class SlowVtc(SlowLines):
    def __init__(self) -> None:
        super().__init__()
        self.counters: dict[Any, int] = {}
        self.counted: dict[Handle, int] = {}
        self.last: Any = None

    def line(self, attributes: JobAttributes) -> Any:
        return attributes.tenant

    def read(self, tick: Tick) -> None:
        for handle, counted in self.counted.items():
            job = self.jobs[handle]
            self.counters[job.attributes.tenant] += 2 * (job.tokens - counted)
            self.counted[handle] = job.tokens

    def submitted(self, attributes: JobAttributes, tick: Tick) -> int:
        self.read(tick)
        mine = self.counters.setdefault(attributes.tenant, 0)
        tenants = {self.lines[handle] for handle in self.jobs if handle not in self.begun}
        if attributes.tenant not in tenants:
            least = min(self.counters[one] for one in tenants) if tenants else self.counters.get(self.last, 0)
            self.counters[attributes.tenant] = max(mine, least)
        return super().submitted(attributes, tick)

    def join(self, handle: Handle, tick: Tick) -> None:
        job = self.jobs[handle]
        if handle not in self.begun:
            self.last = job.attributes.tenant
            self.counters[self.last] += job.attributes.prompt_tokens
        self.counted.setdefault(handle, job.tokens)
        super().join(handle, tick)

    def removed(self, handle: Handle, tick: Tick) -> None:
        super().removed(handle, tick)
        self.counted.pop(handle, None)

    def index(self, handle: Handle, job: SlowJob) -> tuple[Any, ...]:
        mine = job.attributes
        if handle in self.begun:
            return 0, mine.arrival_ns
        waiting = [one.attributes for other, one in self.jobs.items() if other not in self.begun]
        place = mine.arrival_ns, handle
        ahead = [one for one in waiting if one.tenant == mine.tenant and (one.arrival_ns, one.handle) < place]
        return 1, self.counters[mine.tenant] + sum(one.prompt_tokens for one in ahead), mine.arrival_ns


MODELS = {
    "hrrn": SlowHrrn,
    "vtc": SlowVtc,
    "fcfs-swap": SlowFcfs,
    "priority": SlowPriority,
    "las": SlowLas,
    "ps": SlowPs,
    "sjf-oracle": SlowSjf,
    "srpt-0.5": lambda: SlowEstimate(0.5),
    "srpt-1.0": lambda: SlowEstimate(1.0),
    "trail": lambda: SlowEstimate(0.5, kept=0.8),
    "gamma-boost": SlowBoost,
}


class BaselineMachine(PolicyMachine):
    """As the ladder's, but nobody changes a level: `advance` says that a slice is over by the
    version alone.
    """

    def make_slow(self) -> Any:
        return MODELS[self.policy_name]()

    @rule()
    def advance(self) -> None:
        version, over = self.fast.version, self.slow.overdue()
        assert list(self.tell("advance", self.tick)) == []
        self.slow.advance(self.tick)
        assert self.fast.version == version + over


@pytest.mark.parametrize("name", sorted(MODELS))
def test_baseline_agrees_with_its_slow_model(name: str) -> None:
    case = type("Machine", (BaselineMachine,), {"policy_name": name}).TestCase
    case.settings = settings(max_examples=25, stateful_step_count=40)
    case().runTest()
