"""Random event streams against every policy: after every turn all books agree, in the end every job
ended and nothing is left.
"""

from __future__ import annotations

import dataclasses

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from skipjoin.core.asked import Asked
from skipjoin.core.events import (
    AccountAsked,
    CancelRequested,
    Event,
    PolicyChosen,
    PromptArrived,
    SnapshotAsked,
    Submitted,
)
from skipjoin.core.ids import Handle
from skipjoin.core.job import FinishReason
from skipjoin.core.sampling import SamplingParams
from skipjoin.engine.params import EngineParams
from skipjoin.kvstore.params import KV_MODES, KvParams
from skipjoin.scheduler.params import LadderParams
from skipjoin.scheduler.registry import DIAL_NAMES, POLICY_NAMES

from .shadow import prompt_of
from .world import COST, STOP_ID, World, generated, natural_end

POLICIES = sorted(POLICY_NAMES)


class EngineMachine(RuleBasedStateMachine):
    """Every rule is one turn with some events."""

    @initialize(
        policy=st.sampled_from(POLICIES),
        device=st.integers(2, 30),
        host=st.sampled_from([0, 3, 8, 40]),
        batch=st.integers(1, 5),
        mode=st.sampled_from(KV_MODES),
        floor=st.integers(0, 4),
        reserve=st.sampled_from([0.0, 0.2]),
        budget=st.sampled_from([3, 16, 2048]),
        starvation=st.sampled_from(["off", "granted", "paper"]),
        alternate=st.booleans(),
        seed=st.integers(0, 1000),
        fail_share=st.sampled_from([0.0, 0.0, 0.02]),
        link_ns=st.sampled_from([5_000, 5_000, 100_000]),
        ahead=st.booleans(),
    )
    def start(
        self,
        policy,
        device,
        host,
        batch,
        mode,
        floor,
        reserve,
        budget,
        starvation,
        alternate,
        seed,
        fail_share,
        link_ns,
        ahead,
    ):
        params = EngineParams(
            max_batch=batch,
            max_prefill_tokens=budget,
            iteration_ms=0.0,  # the budget in time shall bind, too
            starvation=starvation,
            kv=KvParams(mode=mode, floor_pages=floor, clean_reserve=reserve, lookahead=8),
            ladder=LadderParams(starvation_floor_ns=20_000_000, paper_alpha_ns=10_000_000),
            preempt_every_turn=alternate,
            run_ahead=ahead,
        )
        cost = dataclasses.replace(COST, move_token_ns=link_ns)
        self.arguments = (policy, params, device, host, seed, fail_share, cost)
        self.world = self._new_world(params)
        self.script: list[tuple[int, list[Event]]] = []
        self.next = 0
        self.waiting: dict[int, int] = {}
        self.expected: dict[int, tuple[int, FinishReason]] = {}

    def _new_world(self, params: EngineParams) -> World:
        policy, _, device, host, seed, fail_share, cost = self.arguments
        return World(policy, params, device_pages=device, host_pages=host, seed=seed, fail_share=fail_share, cost=cost)

    def _step(self, *events: Event) -> None:
        self.script.append((self.world.clock.now_ns(), list(events)))
        self._play(self.world, list(events))

    @staticmethod
    def _play(world: World, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, Submitted) and event.generated is not None:
                world.before[event.handle] = len(event.generated)
        world.step(events)

    @rule(
        prompt=st.integers(1, 40),
        new=st.integers(1, 25),
        ignore_eos=st.booleans(),
        stops=st.booleans(),
        late=st.booleans(),
        logged=st.integers(0, 3),
        deadline=st.sampled_from([None, None, 5_000_000, 60_000_000]),
        alone=st.sampled_from([False, False, False, True]),
        copies=st.integers(1, 3),
    )
    def submit(self, prompt, new, ignore_eos, stops, late, logged, deadline, alone, copies):
        events: list[Event] = []
        now = self.world.clock.now_ns()
        for _ in range(copies):
            handle = Handle(self.next)
            self.next += 1
            stop_ids = (STOP_ID,) if stops else ()
            sampling = SamplingParams(max_new_tokens=new, ignore_eos=ignore_eos, stop_token_ids=stop_ids, seed=1)
            if late:
                self.waiting[handle] = prompt
            if deadline is None and not late:
                self.expected[handle] = natural_end(handle, new, ignore_eos=ignore_eos, stop_ids=stop_ids)
            before = min(logged, new)
            if handle in self.expected and before > self.expected[handle][0]:
                before = self.expected[handle][0]
            events.append(
                Submitted(
                    handle,
                    prompt,
                    Asked(sampling, handle * 7 % 5 - 2),
                    arrival_ns=now - 10,
                    prompt=None if late else prompt_of(handle, prompt),
                    has_prompt=not late,
                    generated=generated(handle, before) if before else None,
                    deadline_ns=None if deadline is None else now + deadline,
                    alone=alone,
                    output_tokens=new,
                )
            )
            if prompt + new > self.world.state.max_tokens:
                self.expected[handle] = (before, FinishReason.FAILED)
                self.waiting.pop(handle, None)
        self._step(*events)

    @rule(count=st.integers(1, 12))
    def turns(self, count):
        for _ in range(count):
            self._step()

    @rule(data=st.data())
    def cancel(self, data):
        live = sorted(self.world.state.rows)
        if live:
            handle = data.draw(st.sampled_from(live))
            self.waiting.pop(handle, None)
            self.expected[handle] = (-1, FinishReason.CANCELLED)
            free = self.world.state.ledger.device.free
            self._step(CancelRequested(handle), CancelRequested(Handle(10**6)))
            assert self.world.finished[handle].reason is FinishReason.CANCELLED
            assert free <= self.world.state.ledger.device.total

    @rule()
    def prompt_arrives(self):
        if self.waiting:
            handle, prompt = self.waiting.popitem()
            self._step(PromptArrived(Handle(handle), prompt_of(handle, prompt)))

    @rule(policy=st.sampled_from(POLICIES))
    def policy_is_switched(self, policy):
        self._step(PolicyChosen(policy))

    @rule(tail=st.sampled_from([-1.0, 0.0, 0.3, 1.0]))
    def dial_is_turned(self, tail):
        on = self.world.state.policy
        self._step(PolicyChosen(on.name, tail))
        if on.name in DIAL_NAMES:
            assert self.world.state.policy is on
            assert tail == -1.0 or on.tail == tail

    @rule()
    def somebody_asks(self):
        live = sorted(self.world.state.rows)
        self._step(SnapshotAsked(1), AccountAsked(live[0] if live else Handle(0), 2))

    @rule(millis=st.integers(1, 40))
    def time_passes(self, millis):
        self.world.clock.advance(millis * 1_000_000)

    def teardown(self):
        if not hasattr(self, "world") or self.world.broken:
            return
        while self.waiting:
            self.prompt_arrives()
        self.world.drain()
        for handle, (count, reason) in self.expected.items():
            end = self.world.finished[handle]
            if end.failure is None or reason is FinishReason.FAILED:
                assert end.reason is reason, (handle, end, reason)
                assert count in (-1, end.output_tokens)
        params = self.arguments[1]
        self._again(params)
        if not params.run_ahead:  # which launches only what is not planned anew
            self._again(dataclasses.replace(params, plan_every_turn=True))

    def _again(self, params: EngineParams) -> None:
        """The same events give the same effects, whether unchanged turns are planned or not."""
        world = self._new_world(params)
        for now_ns, events in self.script:
            world.clock.move_to(now_ns)
            self._play(world, events)
        for mine, theirs in zip(world.log, self.world.log, strict=False):
            assert mine == theirs


TestEngine = EngineMachine.TestCase
TestEngine.settings = settings(
    max_examples=60,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
