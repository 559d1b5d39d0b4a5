"""The adaptive ladder against a slow model of itself under random event streams.

The model keeps no cells, no merged lines and no sums: it looks at every job, prices it and sorts.
Hazards, prices and head starts are the product's own classes, which have tests of their own; the
machine that plays the engine is test_random_events'.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import rule

from skipjoin.core.ids import Handle
from skipjoin.core.policy import JobAttributes, Policy, Tick
from skipjoin.scheduler.adaptive.cells import rung_of
from skipjoin.scheduler.adaptive.demand import Demand
from skipjoin.scheduler.adaptive.demand_table import DemandTable, class_of
from skipjoin.scheduler.adaptive.head_start import OutstandingWork, width_at
from skipjoin.scheduler.adaptive.policy import AdaptivePolicy
from skipjoin.scheduler.lengths.forecast import Forecast, Life
from skipjoin.scheduler.lengths.hazards import BINS, EDGES, LengthParams, bin_of
from skipjoin.scheduler.lengths.score import LengthScore

from .test_random_events import BATCH, COST, PARAMS, ROOM, PolicyMachine, SlowJob, SlowPolicy

BASE = 103
LEARNING = LengthParams(rebuild_every=2)


class SlowAdaptive(SlowPolicy):
    def __init__(self, tail: float, forecast: Forecast) -> None:
        super().__init__()
        self.forecast = forecast
        self.table = DemandTable(Demand(COST, BATCH, ROOM), forecast)
        self.lives: dict[Handle, Life] = {}
        self.outstanding = OutstandingWork(BASE, tail)
        self.decode = 0
        self.cold: dict[Handle, int] = {}
        self.bins: dict[Handle, int] = {}
        self.due: dict[Handle, int] = {}

    @property
    def learned(self) -> bool:
        return self.forecast.rebuilds > 0

    def kind(self, handle: Handle) -> tuple[int, int, int, int]:
        job = self.jobs[handle]
        prompt = job.attributes.prompt_tokens
        quarters = next(q for q in range(5) if q == 4 or 4 * job.left <= q * prompt)
        return class_of(prompt), quarters, self.bins[handle], self.lives[handle].score

    def price(self, handle: Handle) -> tuple[int, int]:
        """Rung and expected demand."""
        if not self.learned:
            level = self.cold[handle]
            return level, 2 * BASE * 2 ** (level - 1)
        price = self.table.price(*self.kind(handle))
        return rung_of(price.index_ns, BASE), price.expected_ns

    def head_start(self, handle: Handle) -> int:
        if not self.learned:
            return self.outstanding.boost_ns(self.cold[handle])
        width = width_at(self.outstanding.step)
        return round(self.outstanding.width_ns * self.table.head_start(*self.kind(handle), width_ns=width))

    def settle(self, tick: Tick) -> None:
        self.outstanding.work_ns = sum(self.price(handle)[1] for handle in self.jobs)
        self.outstanding.settle(tick.now_ns)

    def relevel(self) -> None:
        for handle, job in self.jobs.items():
            job.level = max(self.price(handle)[0], 1)

    def ages(self, handle: Handle, new: int) -> None:
        old = self.bins[handle]
        if new > old:
            self.forecast.passed(self.lives[handle], old, new)
            self.bins[handle] = new

    def look(self, handle: Handle) -> None:
        """Count the bins that were passed, and note when to look again."""
        job = self.jobs[handle]
        self.ages(handle, bin_of(job.tokens))
        left = None
        if not self.learned:
            if job.emitted:
                left = max(BASE * 2 ** (self.cold[handle] - 1) - job.charged, 0)
        elif job.decoding and self.bins[handle] < BINS - 1:
            pace = sum(job.stints) // len(job.stints) if job.stints else 0
            pace = pace or COST.decode_ns(1, job.attributes.prompt_tokens + job.tokens)
            left = (EDGES[self.bins[handle] + 1] - job.tokens) * pace
        self.due.pop(handle, None)
        if left is not None and (left == 0 or job.decoding):
            self.due[handle] = self.decode + left

    def submitted(self, attributes: JobAttributes, tick: Tick) -> int:
        super().submitted(attributes, tick)
        level = 1
        while BASE * 2 ** (level - 1) < attributes.entry_ns:
            level += 1
        self.cold[attributes.handle] = level
        self.bins[attributes.handle] = bin_of(attributes.generated_tokens)
        self.lives[attributes.handle] = self.forecast.expect(attributes)
        self.settle(tick)
        self.relevel()
        return self.jobs[attributes.handle].level

    def launched(self, step_ns: int) -> None:
        super().launched(step_ns)
        self.decode += step_ns

    def charge(self, handle: Handle, service_ns: int, computed_tokens: int, tick: Tick) -> None:
        super().charge(handle, service_ns, computed_tokens, tick)
        self.look(handle)
        self.relevel()

    def decoding(self, handle: Handle, tick: Tick) -> None:
        super().decoding(handle, tick)
        self.look(handle)
        self.relevel()

    def leave(self, handle: Handle, tick: Tick) -> None:
        super().leave(handle, tick)
        self.look(handle)
        self.relevel()

    def removed(self, handle: Handle, tick: Tick) -> None:
        self.ended(handle, tick, finished=True)

    def cut_off(self, handle: Handle, tick: Tick) -> None:
        self.ended(handle, tick, finished=False)

    def ended(self, handle: Handle, tick: Tick, *, finished: bool) -> None:
        job = self.jobs[handle]
        self.ages(handle, bin_of(max(job.tokens - 1, 0)))
        life, last = self.lives.pop(handle), self.bins[handle]
        self.due.pop(handle, None)
        super().removed(handle, tick)
        if finished and self.forecast.ended(life, last, job.tokens):
            first = not self.learned
            self.forecast.rebuild()
            self.table.clear()
            for other in self.jobs if first else ():
                self.look(other)
        self.settle(tick)
        self.relevel()

    def advance(self, tick: Tick) -> list[tuple[Any, ...]]:
        out: list[tuple[Any, ...]] = []
        worse = False
        for handle in sorted(
            (h for h, due in self.due.items() if due <= tick.decode_ns), key=lambda h: (self.due[h], h)
        ):
            job, rung = self.jobs[handle], self.price(handle)[0]
            if not self.learned:
                self.drop(handle, job)
            self.look(handle)
            new = self.price(handle)[0]
            worse = worse or new > rung
            if max(new, 1) != max(rung, 1):
                out.append((handle, max(rung, 1), max(new, 1), "quantum"))
        if worse:
            self.settle(tick)
        self.relevel()
        return out

    def drop(self, handle: Handle, job: SlowJob) -> None:
        carried = job.charged - BASE * 2 ** (self.cold[handle] - 1)
        steps = job.stints if job.decoding else ()
        coming = sum(steps) // len(steps) if steps else COST.decode_ns(1, job.attributes.prompt_tokens + job.tokens)
        self.cold[handle] += 1
        while BASE * 2 ** (self.cold[handle] - 1) < carried + coming:
            self.cold[handle] += 1
        job.charged = carried

    def overdue(self) -> bool:
        return any(due <= self.decode for due in self.due.values())

    def next_crossing(self, tick: Tick) -> int | None:
        return min(self.due.values(), default=None)

    def order(self, tick: Tick) -> list[Handle]:
        def rank(handle: Handle) -> tuple[int, Handle]:
            job = self.jobs[handle]
            start = self.head_start(handle)
            if job.running:
                start += self.outstanding.runner_ns + 120 * COST.move_ns(job.attributes.prompt_tokens + job.tokens)
            return job.attributes.arrival_ns - start, handle

        return sorted(self.jobs, key=rank)


class AdaptiveMachine(PolicyMachine):
    """Jobs are cut off, too, and the dial is turned nowhere: it stands at `tail`."""

    tail = 0.5
    guesses = True

    def forecast(self) -> Forecast:
        return Forecast(LEARNING, LengthScore(b"salt") if self.guesses else None)

    def make(self) -> Policy:
        policy = AdaptivePolicy(COST, Demand(COST, BATCH, ROOM), PARAMS, tail=self.tail, forecast=self.forecast())
        vars(policy)["cut_off"] = partial(policy.removed, finished=False)
        return policy

    def make_slow(self) -> Any:
        return SlowAdaptive(self.tail, self.forecast())

    @rule(data=st.data())
    def cut_off(self, data: st.DataObject) -> None:
        handle = self.pick(data, lambda job: True)
        if handle is not None:
            self.tell("cut_off", handle, self.tick)
            self.slow.cut_off(handle, self.tick)

    @rule()
    def advance(self) -> None:
        version, before = self.fast.version, self.slow.order(self.tick)
        changes = [(c.handle, c.old, c.new, c.cause.value) for c in self.tell("advance", self.tick)]
        assert changes == self.slow.advance(self.tick)
        assert not self.slow.overdue()
        if self.slow.order(self.tick) != before:
            assert self.fast.version > version


@pytest.mark.parametrize(("tail", "guesses"), [(0.0, True), (0.5, True), (0.5, False), (1.0, True)])
def test_the_adaptive_ladder_agrees_with_its_slow_model(tail: float, guesses: bool) -> None:
    machine = type("Machine", (AdaptiveMachine,), {"tail": tail, "guesses": guesses})
    case = machine.TestCase
    case.settings = settings(max_examples=50, stateful_step_count=60)
    case().runTest()
