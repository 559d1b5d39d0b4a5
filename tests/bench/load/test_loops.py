"""The open loop: requests go at their times whatever becomes of them, and latencies count from
those times.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest
from measured import MS, Sleeper, VirtualTarget, workload

from skipjoin.bench.load.loops import (
    LEAD_NS,
    MAX_LAG_MS,
    Answered,
    Asked,
    LoadRun,
    Sleep,
    offer,
    requests_of,
)
from skipjoin.core.clock import ManualClock, MonotonicClock
from skipjoin.workload.requests import Workload


def _offer(
    jobs: Workload, make: Callable[[ManualClock], VirtualTarget], *, late_ms: int = 0
) -> tuple[LoadRun, VirtualTarget]:
    clock = ManualClock(5 * MS)
    target = make(clock)
    sleep: Sleep = Sleeper(clock, late_ms)
    return asyncio.run(offer(target, jobs, requests_of(jobs, 16), clock, sleep=sleep)), target


def test_requests_go_at_their_times() -> None:
    run, target = _offer(workload([0, 7, 7, 40]), VirtualTarget)
    begin_ns = 5 * MS + LEAD_NS
    assert target.asked == [(0, begin_ns), (1, begin_ns + 7 * MS), (2, begin_ns + 7 * MS), (3, begin_ns + 40 * MS)]
    assert run.scheduled_ns.tolist() == run.sent_ns.tolist() == [at for _, at in target.asked]
    assert run.lag_ms == (0.0, 0.0) and run.trustworthy
    told = run.results()
    assert (told.policy, told.requests, told.refused) == ("skipjoin", 4, 0)
    assert told.mean_jct_s == pytest.approx(0.010)
    assert told.mean_ttft_s == pytest.approx(0.002)
    assert told.mean_tpot_s == pytest.approx(0.004)
    assert told.mean_normalized_latency_s == pytest.approx(0.010 / 3)
    assert told.makespan_s == pytest.approx(0.050)
    assert told.output_token_throughput == pytest.approx(12 / 0.050)
    assert (told.preemptions, told.bytes_moved, told.tokens_recomputed) == (4, 400, 6)
    assert told.max_slowdown is None


def test_the_loop_is_open() -> None:
    async def all_asked_before_one_is_answered() -> list[int]:
        clock, gate = ManualClock(), asyncio.Event()

        def wait(asked: Asked) -> asyncio.Event:
            if asked.number == 29:
                gate.set()
            return gate

        target, jobs = VirtualTarget(clock, wait=wait), workload(range(30))
        async with asyncio.timeout(10):  # a closed loop would wait for the first answer for ever
            await offer(target, jobs, requests_of(jobs, 16), clock, sleep=Sleeper(clock))
        return [number for number, _ in target.asked]

    assert asyncio.run(all_asked_before_one_is_answered()) == list(range(30))


def test_latency_counts_from_the_scheduled_time_and_lag_is_told() -> None:
    run, target = _offer(workload([0, 10, 20]), VirtualTarget, late_ms=30)
    begin_ns = 5 * MS + LEAD_NS
    # The first wakes up 30 ms late; the others were due by then and go at once.
    assert [at for _, at in target.asked] == [begin_ns + 30 * MS] * 3
    assert run.lag_ms == (30.0, 30.0)
    assert MAX_LAG_MS < 30.0 and not run.trustworthy
    told = run.results()
    assert told.mean_jct_s == pytest.approx((0.040 + 0.030 + 0.020) / 3)
    assert told.mean_ttft_s == pytest.approx((0.032 + 0.022 + 0.012) / 3)


def test_a_sleep_that_wakes_up_early_sends_nothing_early() -> None:
    clock = ManualClock()
    naps = []

    async def nap(seconds: float) -> None:
        naps.append(seconds)
        await asyncio.sleep(0)
        clock.advance(max(1, round(seconds * 1e9 / 2)))

    target, jobs = VirtualTarget(clock), workload([0, 3])
    run = asyncio.run(offer(target, jobs, requests_of(jobs, 16), clock, sleep=nap))
    assert len(naps) > 10
    assert (run.sent_ns >= run.scheduled_ns).all()
    assert run.lag_ms[1] < 0.001


def test_failures_and_warm_up_do_not_enter_the_figures() -> None:
    def answer(asked: Asked, usual: Answered) -> Answered:
        if asked.number in (0, 3):
            return Answered(None, usual.end_ns, 0, f"number {asked.number}")
        return usual if asked.number != 1 else replace(usual, end_ns=usual.end_ns + 10**9)

    jobs = workload([0, 1, 2, 3, 4], warmup=2, refused=7)
    run, _ = _offer(jobs, lambda clock: VirtualTarget(clock, answer=answer))
    assert run.failures == ["number 3"]
    assert len(run.ends_ns()) == 3
    told = run.results(lambda prompt, output: (prompt + output) * MS)
    assert (told.requests, told.refused) == (2, 7)
    assert told.p99_jct_s == pytest.approx(0.010)  # the slow second one warmed up
    assert told.max_slowdown == pytest.approx(10 / 7)
    assert told.tokens_recomputed == 2 + 4


def test_what_one_answer_leaves_unknown_is_unknown() -> None:
    def answer(asked: Asked, usual: Answered) -> Answered:
        return replace(usual, preemptions=None) if asked.number == 1 else usual

    run, _ = _offer(workload([0, 1]), lambda clock: VirtualTarget(clock, answer=answer, bytes_moved=None, policy=None))
    told = run.results()
    assert (told.policy, told.preemptions, told.bytes_moved, told.tokens_recomputed) == (None, None, None, 1)


def test_a_run_in_which_all_fail_has_no_figures() -> None:
    def answer(asked: Asked, usual: Answered) -> Answered:
        return Answered(None, usual.end_ns, 0, "no")

    run, _ = _offer(workload([0, 1]), lambda clock: VirtualTarget(clock, answer=answer))
    told = run.results(lambda prompt, output: 1)
    assert (told.requests, told.mean_jct_s, told.max_slowdown, told.preemptions) == (0, None, None, None)
    assert run.ends_ns() == []


def test_leaving_early_ends_open_requests() -> None:
    async def leave() -> VirtualTarget:
        clock, never, all_asked = ManualClock(), asyncio.Event(), asyncio.Event()

        def wait(asked: Asked) -> asyncio.Event:
            if asked.number == 2:
                all_asked.set()
            return never

        target, jobs = VirtualTarget(clock, wait=wait), workload([0, 1, 2])
        task = asyncio.create_task(offer(target, jobs, requests_of(jobs, 16), clock, sleep=Sleeper(clock)))
        await all_asked.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return target

    assert sorted(asyncio.run(leave()).cancelled) == [0, 1, 2]


def test_ends_are_told_one_by_one() -> None:
    clock, ends = ManualClock(), list[int]()
    jobs = workload([0, 1, 2])
    asyncio.run(
        offer(VirtualTarget(clock), jobs, requests_of(jobs, 16), clock, sleep=Sleeper(clock), ended=ends.append)
    )
    assert ends == [1, 1, 1]


def test_a_closed_loop_has_so_many_at_once() -> None:
    async def go() -> tuple[int, list[int]]:
        clock, gates = MonotonicClock(), [asyncio.Event() for _ in range(9)]
        most = 0

        def wait(asked: Asked) -> asyncio.Event:
            nonlocal most
            open_now = len(target.asked) - sum(gate.is_set() for gate in gates)
            most = max(most, open_now)
            if open_now == 3:
                gates[asked.number - 2].set()  # the oldest is answered, its client asks again
            if asked.number == 8:
                for gate in gates:
                    gate.set()
            return gates[asked.number]

        target = VirtualTarget(clock, wait=wait)
        jobs = workload([0] * 9)
        async with asyncio.timeout(10):
            run = await offer(target, jobs, requests_of(jobs, 16), clock, clients=3)
        assert [answer.failure for answer in run.answers] == [None] * 9
        assert (run.scheduled_ns == run.sent_ns).all() and run.trustworthy
        return most, [number for number, _ in target.asked]

    assert asyncio.run(go()) == (3, list(range(9)))
