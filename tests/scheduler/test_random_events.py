"""The ladder, fcfs and the oracle against slow, obvious models of themselves under random event
streams; the others are in test_baselines_random.

Owns the state machine that plays the engine: it submits, batches, charges, decodes, preempts, ends
and promotes at random. The reference models below keep plain lists and add every decode step to
every job by hand; the product must agree after each step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from skipjoin.core.asked import Asked
from skipjoin.core.ids import Handle, TenantId
from skipjoin.core.policy import JobAttributes, Policy, Tick
from skipjoin.cost.linear import LinearCostModel
from skipjoin.scheduler.adaptive.demand import Demand
from skipjoin.scheduler.invariants import check
from skipjoin.scheduler.params import LadderParams
from skipjoin.scheduler.registry import make_policy

COST = LinearCostModel(100.0, 2.0, 0.01, 0.5, 3.0, 0.25)
PARAMS = LadderParams(starvation_floor_ns=500, starvation_factor=2.0, starvation_share=0.25, paper_alpha_ns=300)
BATCH, ROOM = 4, 4_000


@dataclass
class SlowJob:
    attributes: JobAttributes
    since: int
    level: int = 1
    service: int = 0
    charged: int = 0
    emitted: bool = False
    prefilling: bool = True
    left: int = 0
    tokens: int = 0
    running: bool = False
    decoding: bool = False
    stints: tuple[int, ...] = ()  # decode steps since it joined the decode batch
    deadline: int | None = None
    offered: bool = False


class SlowPolicy:
    """What all share: jobs by handle, and time added by hand."""

    def __init__(self) -> None:
        self.jobs: dict[Handle, SlowJob] = {}

    def submitted(self, attributes: JobAttributes, tick: Tick) -> int:
        job = SlowJob(
            attributes, tick.now_ns, emitted=attributes.generated_tokens > 0, tokens=attributes.generated_tokens
        )
        job.left = attributes.uncached_tokens
        self.jobs[attributes.handle] = job
        return 1

    def launched(self, step_ns: int) -> None:
        for job in self.jobs.values():
            if job.decoding:
                job.service += step_ns
                job.charged += step_ns
                job.tokens += 1
                job.stints = (*job.stints, step_ns)

    def join(self, handle: Handle, tick: Tick) -> None:
        self.jobs[handle].running = True

    def charge(self, handle: Handle, service_ns: int, computed_tokens: int, tick: Tick) -> None:
        job = self.jobs[handle]
        job.service += service_ns
        job.charged += service_ns
        job.prefilling = True
        job.left = max(0, job.left - computed_tokens)

    def decoding(self, handle: Handle, tick: Tick) -> None:
        job = self.jobs[handle]
        job.tokens += job.prefilling
        job.prefilling, job.emitted, job.decoding, job.left, job.stints = False, True, True, 0, ()

    def leave(self, handle: Handle, tick: Tick) -> None:
        job = self.jobs[handle]
        job.running = job.decoding = False
        job.since = tick.now_ns

    def removed(self, handle: Handle, tick: Tick) -> None:
        del self.jobs[handle]

    def advance(self, tick: Tick) -> list[tuple[Any, ...]]:
        return []

    def grant(self, handle: Handle, tick: Tick) -> tuple[Any, ...] | None:
        return None

    def offers(self) -> list[Handle]:
        return []

    def next_change(self, tick: Tick) -> int | None:
        return None

    def overdue(self) -> bool:
        return False

    def next_crossing(self, tick: Tick) -> int | None:
        return None

    def levels(self, tick: Tick) -> dict[int, tuple[int, int, int]]:
        out: dict[int, tuple[int, int, int]] = {}
        for job in self.jobs.values():
            live, running, wait = out.get(job.level, (0, 0, 0))
            waited = 0 if job.running else tick.now_ns - job.since
            out[job.level] = (live + 1, running + job.running, max(wait, waited))
        return out


class SlowFcfs(SlowPolicy):
    def order(self, tick: Tick) -> list[Handle]:
        return sorted(self.jobs, key=lambda h: (self.jobs[h].attributes.arrival_ns, h))


class SlowSrpt(SlowPolicy):
    def order(self, tick: Tick) -> list[Handle]:
        demand = Demand(COST, BATCH, ROOM)

        def remaining(handle: Handle) -> tuple[int, Handle]:
            job = self.jobs[handle]
            context = job.attributes.prompt_tokens + job.tokens
            decodes = (job.attributes.output_tokens or 0) - job.tokens - job.prefilling
            cost = demand.prefill_ns(job.left, max(0, context - job.left)) + demand.decode_ns(decodes, context)
            return cost, handle

        return sorted(self.jobs, key=remaining)


class SlowMlfq(SlowPolicy):
    def __init__(self, *, skip_join: bool, starvation: str) -> None:
        super().__init__()
        self.skip_join, self.starvation = skip_join, starvation
        self.queues: list[list[Handle]] = [[] for _ in range(60)]
        self.open: list[Handle] = []
        self.promoted: tuple[Handle, int] | None = None
        self.quiet: int | None = None

    def settle(self, handle: Handle, tick: Tick) -> None:
        if self.promoted is not None and self.promoted[0] == handle:
            self.quiet = tick.now_ns + 3 * (tick.now_ns - self.promoted[1])
            self.promoted = None

    def quantum(self, level: int) -> int:
        return 103 * 2 ** (level - 1)

    def put(self, handle: Handle, level: int) -> None:
        for queue in self.queues:
            if handle in queue:
                queue.remove(handle)
        self.queues[level].append(handle)
        self.jobs[handle].level = level

    def wait(self, handle: Handle) -> None:
        job = self.jobs[handle]
        self.no_wait(handle)
        if job.level == 1 or self.starvation == "off":
            return
        job.deadline = job.since + (300 if self.starvation == "paper" else max(500, 2 * job.service))

    def no_wait(self, handle: Handle) -> None:
        self.jobs[handle].deadline = None
        if handle in self.open:
            self.open.remove(handle)

    def submitted(self, attributes: JobAttributes, tick: Tick) -> int:
        super().submitted(attributes, tick)
        level = 1
        while self.skip_join and self.quantum(level) < attributes.entry_ns:
            level += 1
        self.put(attributes.handle, level)
        self.wait(attributes.handle)
        return level

    def join(self, handle: Handle, tick: Tick) -> None:
        super().join(handle, tick)
        self.no_wait(handle)

    def leave(self, handle: Handle, tick: Tick) -> None:
        super().leave(handle, tick)
        self.wait(handle)

    def removed(self, handle: Handle, tick: Tick) -> None:
        self.no_wait(handle)
        self.queues[self.jobs[handle].level].remove(handle)
        self.settle(handle, tick)
        super().removed(handle, tick)

    def used_up(self, job: SlowJob) -> bool:
        return job.emitted and job.charged >= self.quantum(job.level)

    def advance(self, tick: Tick) -> list[tuple[Any, ...]]:
        out: list[tuple[Any, ...]] = []
        for handle in self.order(tick):
            job = self.jobs[handle]
            if not self.used_up(job):
                continue
            old, carried = job.level, job.charged - self.quantum(job.level)
            steps = job.stints if job.decoding else ()
            coming = sum(steps) // len(steps) if steps else COST.decode_ns(1, job.attributes.prompt_tokens + job.tokens)
            new = old + 1
            while self.quantum(new) < carried + coming:
                new += 1
            job.charged = carried
            self.put(handle, new)
            if not job.running:
                self.wait(handle)
            self.settle(handle, tick)
            out.append((handle, old, new, "quantum"))
        if self.quiet is not None and self.quiet <= tick.now_ns:
            self.quiet = None
        late = [h for h, job in self.jobs.items() if job.deadline is not None and job.deadline <= tick.now_ns]
        for handle in sorted(late, key=lambda h: (self.jobs[h].deadline, h)):
            if self.starvation == "paper":
                out.append(self.promote(handle))
            else:
                self.jobs[handle].deadline = None
                self.open.append(handle)
        return out

    def promote(self, handle: Handle) -> tuple[Any, ...]:
        old = self.jobs[handle].level
        self.put(handle, 1)
        self.jobs[handle].charged = 0
        self.no_wait(handle)
        return (handle, old, 1, "starvation")

    def grant(self, handle: Handle, tick: Tick) -> tuple[Any, ...] | None:
        if handle not in self.offers():
            return None
        self.promoted = (handle, tick.now_ns)
        return self.promote(handle)

    def offers(self) -> list[Handle]:
        return self.open if self.promoted is None and self.quiet is None else []

    def next_change(self, tick: Tick) -> int | None:
        times = [job.deadline for job in self.jobs.values() if job.deadline is not None]
        return min(times + ([] if self.quiet is None else [self.quiet]), default=None)

    def overdue(self) -> bool:
        return any(self.used_up(job) for job in self.jobs.values())

    def next_crossing(self, tick: Tick) -> int | None:
        lefts = [self.quantum(job.level) - job.charged for job in self.jobs.values() if job.decoding and job.emitted]
        return min((tick.decode_ns + left for left in lefts), default=None)

    def order(self, tick: Tick) -> list[Handle]:
        return [handle for queue in self.queues for handle in queue]


def slow_policy(name: str, starvation: str) -> Any:
    if name == "fcfs":
        return SlowFcfs()
    if name == "srpt-oracle":
        return SlowSrpt()
    return SlowMlfq(skip_join=name == "skipjoin", starvation=starvation)


class PolicyMachine(RuleBasedStateMachine):
    """Plays the engine. Subclasses choose policy and starvation rule."""

    policy_name = "skipjoin"
    starvation = "granted"

    @initialize()
    def start(self) -> None:
        self.tick = Tick(0, 0, 0)
        self.fast = self.make()
        self.slow = self.make_slow()
        self.next_handle = 1
        self.log: list[tuple[str, tuple[Any, ...], Any]] = []

    def make(self) -> Policy:
        return make_policy(self.policy_name, COST, PARAMS, self.starvation, max_batch=BATCH, room_tokens=ROOM)

    def make_slow(self) -> Any:
        return slow_policy(self.policy_name, self.starvation)

    def tell(self, method: str, *args: Any) -> Any:
        version, order = self.fast.version, [handle for _, handle in self.fast.order(self.tick)]
        answer = getattr(self.fast, method)(*args)
        improves = (
            args[:1] if method in ("join", "charge", "decoding") else ()
        )  # a running job may get better placed in silence
        ordered = [handle for _, handle in self.fast.order(self.tick)]
        if [h for h in ordered if h not in improves] != [h for h in order if h not in improves]:
            assert self.fast.version > version, f"{method} changed the order in silence"
        self.log.append((method, args, answer))
        return answer

    def pick(self, data: st.DataObject, want: Any) -> Handle | None:
        handles = [handle for handle, job in self.slow.jobs.items() if want(job)]
        return data.draw(st.sampled_from(handles)) if handles else None

    @rule(
        prompt=st.integers(1, 400),
        cached=st.integers(0, 100),
        output=st.integers(1, 60),
        generated=st.sampled_from([0, 0, 0, 5]),
        age=st.integers(0, 50),
    )
    def submit(self, prompt: int, cached: int, output: int, generated: int, age: int) -> None:
        handle = Handle(self.next_handle)
        self.next_handle += 1
        uncached = max(prompt + generated - cached, 1)
        arrival, entry = self.tick.now_ns - age, COST.prompt_ns(uncached)
        attributes = JobAttributes(
            handle,
            arrival,
            prompt,
            uncached,
            entry,
            output + 5,
            generated,
            TenantId(f"tenant {handle % 3}"),
            asked=Asked(priority=handle * 7 % 5 - 2),
            output_tokens=output + generated,
        )
        assert self.tell("submitted", attributes, self.tick) == self.slow.submitted(attributes, self.tick)

    @rule(data=st.data(), decodes=st.booleans())
    def join(self, data: st.DataObject, decodes: bool) -> None:
        handle = self.pick(data, lambda job: not job.running)
        if handle is None:
            return
        self.tell("join", handle, self.tick)
        self.slow.join(handle, self.tick)
        if decodes and not self.slow.jobs[handle].prefilling:
            self.tell("decoding", handle, self.tick)
            self.slow.decoding(handle, self.tick)

    @rule(data=st.data(), tokens=st.integers(1, 200))
    def charge(self, data: st.DataObject, tokens: int) -> None:
        handle = self.pick(data, lambda job: job.running and not job.decoding)
        if handle is None:
            return
        service_ns = COST.chunk_ns(tokens, 0)
        self.tell("charge", handle, service_ns, tokens, self.tick)
        self.slow.charge(handle, service_ns, tokens, self.tick)

    @rule(data=st.data())
    def decoding(self, data: st.DataObject) -> None:
        handle = self.pick(data, lambda job: job.running and not job.decoding)
        if handle is not None:
            self.tell("decoding", handle, self.tick)
            self.slow.decoding(handle, self.tick)

    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        handle = self.pick(data, lambda job: job.running)
        if handle is not None:
            self.tell("leave", handle, self.tick)
            self.slow.leave(handle, self.tick)

    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        handle = self.pick(data, lambda job: True)
        if handle is not None:
            self.tell("removed", handle, self.tick)
            self.slow.removed(handle, self.tick)

    @rule(steps=st.integers(1, 12), step_ns=st.integers(1, 300))
    def launch(self, steps: int, step_ns: int) -> None:
        """Iterations whose batch does not change: nothing of the policy's is called."""
        if not any(job.decoding for job in self.slow.jobs.values()):
            return
        for _ in range(steps):
            self.slow.launched(step_ns)
        now, decode, done = self.tick
        self.tick = Tick(now + steps * step_ns, decode + steps * step_ns, done + steps)

    @rule(delta_ns=st.integers(1, 3_000))
    def wait(self, delta_ns: int) -> None:
        self.tick = self.tick._replace(now_ns=self.tick.now_ns + delta_ns)

    @rule()
    def advance(self) -> None:
        version = self.fast.version
        before = (self.slow.order(self.tick), list(self.slow.offers()))
        changes = [(c.handle, c.old, c.new, c.cause.value) for c in self.tell("advance", self.tick)]
        assert changes == self.slow.advance(self.tick)
        assert not self.slow.overdue()
        if (self.slow.order(self.tick), list(self.slow.offers())) != before:
            assert self.fast.version > version
        elif not changes:
            assert self.fast.version == version

    @precondition(lambda self: self.slow.jobs)
    @rule(data=st.data(), first=st.booleans())
    def grant(self, data: st.DataObject, first: bool) -> None:
        offers = self.slow.offers()
        handle = offers[0] if first and offers else self.pick(data, lambda job: True)
        change = self.tell("grant", handle, self.tick)
        expected = self.slow.grant(handle, self.tick)
        assert (change and (change.handle, change.old, change.new, change.cause.value)) == expected

    @invariant()
    def agrees(self) -> None:
        if not hasattr(self, "fast"):
            return
        tick, fast, slow = self.tick, self.fast, self.slow
        check(fast, tick)
        assert [handle for _, handle in fast.order(tick)] == slow.order(tick)
        assert list(fast.offers()) == slow.offers()
        assert fast.next_change_ns() == slow.next_change(tick)
        crossing = fast.next_crossing_ns()
        if slow.overdue():
            assert crossing is not None
            assert crossing <= tick.decode_ns
        else:
            assert crossing == slow.next_crossing(tick)
        assert {
            level: (live, running, wait) for level, live, running, wait in fast.depths(tick) if live
        } == slow.levels(tick)
        assert all(fast.level(handle) == job.level for handle, job in slow.jobs.items())

    def teardown(self) -> None:
        """The same events give the same answers."""
        if not hasattr(self, "log"):
            return
        again = self.make()
        for method, args, answer in self.log:
            assert getattr(again, method)(*args) == answer
        assert list(again.order(self.tick)) == list(self.fast.order(self.tick))
        assert again.version == self.fast.version


CASES = [(name, rule_) for name in ("skipjoin", "mlfq") for rule_ in ("granted", "paper", "off")]


@pytest.mark.parametrize(("name", "starvation"), [*CASES, ("fcfs", "granted"), ("srpt-oracle", "granted")])
def test_policy_agrees_with_its_slow_model(name: str, starvation: str) -> None:
    machine = type("Machine", (PolicyMachine,), {"policy_name": name, "starvation": starvation})
    case = machine.TestCase
    case.settings = settings(max_examples=50, stateful_step_count=50)
    case().runTest()
