"""`serpt` and `gittins`: by hand, and against a slow, obvious model of themselves under random
event streams.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import settings
from hypothesis.stateful import rule

from skipjoin.core.ids import Handle
from skipjoin.core.policy import JobAttributes, Policy, Tick
from skipjoin.cost.linear import LinearCostModel
from skipjoin.scheduler.adaptive.demand import Demand
from skipjoin.scheduler.adaptive.demand_table import DemandTable, Price, class_of
from skipjoin.scheduler.lengths.hazards import EDGES, LengthParams, Lengths, bin_of
from skipjoin.scheduler.residual import Gittins, ResidualPolicy, Serpt

from .test_baselines_random import DEMAND, SlowIndex
from .test_random_events import COST, PolicyMachine, SlowJob

OFTEN = LengthParams(rebuild_every=2)
LEARNED: dict[str, type[ResidualPolicy]] = {"serpt": Serpt, "gittins": Gittins}
FLAT = Demand(LinearCostModel(0.0, 1.0, 0.0, 0.0, 100.0), 1)  # an output token is 100 ns, a prompt token 1 ns
T0 = Tick(0, 0, 0)


class SlowResidual(SlowIndex):
    """Ages by hand; hazards and prices are the product's, which have tests of their own."""

    def __init__(self, worth: Callable[[Price], int]) -> None:
        super().__init__()
        self.worth = worth
        self.lengths = Lengths(OFTEN)
        self.bins: dict[Handle, int] = {}
        self.due: dict[Handle, int] = {}  # decode clock
        self.clock = self.moved = 0

    def launched(self, step_ns: int) -> None:
        super().launched(step_ns)
        self.clock += step_ns

    def submitted(self, attributes: JobAttributes, tick: Tick) -> int:
        self.bins[attributes.handle] = bin_of(attributes.generated_tokens)
        return super().submitted(attributes, tick)

    def reach(self, handle: Handle, age_bin: int) -> None:
        bucket = self.lengths.bucket(self.jobs[handle].attributes.prompt_tokens)
        for _ in range(self.bins[handle], age_bin):
            self.lengths.passed(bucket, self.bins[handle], self.bins[handle] + 1)
            self.bins[handle] += 1

    def look(self, handle: Handle, tick: Tick) -> None:
        job = self.jobs[handle]
        self.reach(handle, bin_of(job.tokens))
        step = COST.decode_ns(1, job.attributes.prompt_tokens + job.tokens)
        if job.stints:
            step = sum(job.stints) // len(job.stints)
        self.due[handle] = tick.decode_ns + (EDGES[self.bins[handle] + 1] - job.tokens) * step

    def decoding(self, handle: Handle, tick: Tick) -> None:
        super().decoding(handle, tick)
        self.look(handle, tick)

    def leave(self, handle: Handle, tick: Tick) -> None:
        self.reach(handle, bin_of(self.jobs[handle].tokens))
        self.due.pop(handle, None)
        super().leave(handle, tick)

    def removed(self, handle: Handle, tick: Tick) -> None:
        attributes = self.jobs[handle].attributes
        self.reach(handle, bin_of(max(self.jobs[handle].tokens - 1, 0)))
        self.due.pop(handle, None)
        if self.lengths.ended(self.lengths.bucket(attributes.prompt_tokens), self.bins[handle]):
            self.lengths.rebuild()
        super().removed(handle, tick)

    def overdue(self) -> bool:
        return any(due <= self.clock for due in self.due.values())

    def advance(self, tick: Tick) -> list[tuple[Any, ...]]:
        before = dict(self.bins)
        for handle in sorted(handle for handle, due in self.due.items() if due <= self.clock):
            self.look(handle, tick)
        self.moved = sum(before[handle] != after for handle, after in self.bins.items())
        return []

    def next_crossing(self, tick: Tick) -> int | None:
        return min(self.due.values(), default=None)

    def index(self, handle: Handle, job: SlowJob) -> tuple[Any, ...]:
        quarters = min(math.ceil(4 * job.left / job.attributes.prompt_tokens), 4)
        price = DemandTable(DEMAND, self.lengths).price(
            class_of(job.attributes.prompt_tokens), quarters, self.bins[handle]
        )
        return self.worth(price), job.attributes.arrival_ns


WORTH: dict[str, Callable[[Price], int]] = {
    "serpt": lambda price: price.expected_ns,
    "gittins": lambda price: price.index_ns,
}


class LearnedMachine(PolicyMachine):
    """As the ladder's, but nobody changes a level, and hazards are made anew after every second
    end.
    """

    def make(self) -> Policy:
        return LEARNED[self.policy_name](DEMAND, OFTEN)

    def make_slow(self) -> Any:
        return SlowResidual(WORTH[self.policy_name])

    @rule()
    def advance(self) -> None:
        version = self.fast.version
        assert list(self.tell("advance", self.tick)) == []
        self.slow.advance(self.tick)
        assert self.fast.version == version + self.slow.moved


@pytest.mark.parametrize("name", sorted(LEARNED))
def test_learned_baseline_agrees_with_its_slow_model(name: str) -> None:
    case = type("Machine", (LearnedMachine,), {"policy_name": name}).TestCase
    case.settings = settings(max_examples=25, stateful_step_count=40)
    case().runTest()


def taught(kind: type[ResidualPolicy], lengths: list[int]) -> ResidualPolicy:
    """A policy that has seen jobs of these lengths, prompts of 100 tokens, one after the other."""
    one = kind(FLAT)
    for number, length in enumerate(lengths, start=1000):
        handle = Handle(number)
        one.submitted(attributes(number), T0)
        one.join(handle, T0)
        one.charge(handle, 100, 100, T0)
        one.decoding(handle, T0)
        one.removed(handle, Tick(0, 100 * (length - 1), length - 1))
    return one


def attributes(number: int, prompt: int = 100) -> JobAttributes:
    return JobAttributes(Handle(number), 0, prompt, prompt, prompt, 10_000)


def aged(one: ResidualPolicy, number: int, tokens: int) -> None:
    """A job that has said `tokens` tokens and waits."""
    tick = Tick(0, 100 * (tokens - 1), tokens - 1)
    one.submitted(attributes(number), T0)
    one.join(Handle(number), T0)
    one.charge(Handle(number), 100, 100, T0)
    one.decoding(Handle(number), T0)
    one.leave(Handle(number), tick)


def order(one: Policy) -> list[int]:
    return [int(handle) for _, handle in one.order(T0)]


@pytest.mark.parametrize("kind", [Serpt, Gittins])
def test_who_talks_long_is_nearly_done_where_lengths_are_alike_and_far_from_it_where_they_are_not(
    kind: type[ResidualPolicy],
) -> None:
    alike = taught(kind, [200] * 400)
    mixed = taught(kind, ([12] * 9 + [2_000]) * 40)
    for one in (alike, mixed):
        one.submitted(attributes(1), T0)
        aged(one, 2, 150)
    assert order(alike) == [2, 1]
    assert order(mixed) == [1, 2]


def test_gittins_takes_the_bet_that_serpt_does_not() -> None:
    # Nine of ten say 12 tokens, the tenth 2,000: 210 expected. A prompt as dear as that many tokens
    # is between the bet and the expectation.
    lengths = ([12] * 9 + [2_000]) * 40
    serpt, gittins = taught(Serpt, lengths), taught(Gittins, lengths)
    for one in (serpt, gittins):
        one.submitted(attributes(1), T0)
        aged(one, 2, 1_500)  # some 500 tokens left for sure
    assert gittins.key(Handle(1), T0)[1] < serpt.key(Handle(1), T0)[1] / 4
    assert order(gittins) == [1, 2]


def test_a_prompt_that_is_nearly_computed_counts_for_what_is_left_of_it() -> None:
    one = taught(Serpt, [10] * 400)
    one.submitted(attributes(1, prompt=2_000), T0)
    one.submitted(attributes(2, prompt=900), T0)
    assert order(one) == [2, 1]
    one.join(Handle(1), T0)
    one.charge(Handle(1), 1_600, 1_600, T0)
    assert order(one) == [1, 2]


def test_an_output_that_was_cut_off_teaches_only_that_it_was_no_shorter() -> None:
    cut, ended = Serpt(FLAT), taught(Serpt, [100] * 64)
    for number in range(64):
        aged(cut, 1000 + number, 100)
        cut.removed(Handle(1000 + number), T0, finished=False)
    for one in (cut, ended):
        one.submitted(attributes(1), T0)
    unseen = Serpt(FLAT)
    unseen.submitted(attributes(1), T0)
    assert cut.key(Handle(1), T0) == unseen.key(Handle(1), T0)  # nobody came to an end: no hazard is made
    assert ended.key(Handle(1), T0) != unseen.key(Handle(1), T0)
