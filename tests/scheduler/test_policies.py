"""What each policy promises, on streams small enough to follow by hand."""

from __future__ import annotations

import pytest

from skipjoin.core.effects import LevelCause, LevelChanged
from skipjoin.core.errors import InvalidSettings, InvariantViolation
from skipjoin.core.ids import Handle, Level
from skipjoin.core.policy import JobAttributes, Policy, Tick
from skipjoin.cost.linear import LinearCostModel
from skipjoin.scheduler.account import JobEntry
from skipjoin.scheduler.adaptive.demand import Demand
from skipjoin.scheduler.index import IndexPolicy
from skipjoin.scheduler.invariants import check
from skipjoin.scheduler.mlfq import MlfqPolicy
from skipjoin.scheduler.params import LadderParams
from skipjoin.scheduler.registry import POLICY_NAMES, make_policy

COST = LinearCostModel(100.0, 1.0, 0.0, 0.0, 0.0)  # a decode part is 100 ns, so quanta are 100, 200, 400, ...
A, B, C = Handle(1), Handle(2), Handle(3)
T0 = Tick(0, 0, 0)
FLOOR = 3_000_000_000


def attributes(
    handle: Handle, prompt: int = 50, *, arrival: int = 0, output: int = 10, generated: int = 0
) -> JobAttributes:
    return JobAttributes(handle, arrival, prompt, prompt, COST.prompt_ns(prompt), 100, generated, output_tokens=output)


def after(tick: Tick, steps: int, step_ns: int = 100) -> Tick:
    return Tick(tick.now_ns + steps * step_ns, tick.decode_ns + steps * step_ns, tick.steps + steps)


def run(policy: Policy, handle: Handle, tick: Tick, prefill_ns: int = 0) -> None:
    policy.join(handle, tick)
    if prefill_ns:
        policy.charge(handle, prefill_ns, 50, tick)
    policy.decoding(handle, tick)


def order(policy: Policy, tick: Tick = T0) -> list[Handle]:
    return [handle for _, handle in policy.order(tick)]


def test_skip_join_enters_where_the_first_iteration_fits_and_plain_mlfq_on_top() -> None:
    skip, plain = MlfqPolicy("skipjoin", COST), MlfqPolicy("mlfq", COST, skip_join=False)
    assert skip.submitted(attributes(A, prompt=500), T0) == 4  # 600 ns: 400 < 600 <= 800
    assert skip.submitted(attributes(B, prompt=100), T0) == 2  # 200 ns fits 200 exactly
    assert order(skip) == [B, A]
    assert plain.submitted(attributes(A, prompt=500), T0) == 1
    assert plain.submitted(attributes(B, prompt=100), T0) == 1
    assert order(plain) == [A, B]


def test_a_job_is_demoted_when_charged_its_quantum_and_what_is_beyond_is_carried() -> None:
    policy = MlfqPolicy("skipjoin", COST)
    policy.submitted(attributes(A, prompt=50), T0)  # level 2, quantum 200
    run(policy, A, T0, prefill_ns=50)
    assert policy.next_crossing_ns() == 150
    tick = after(T0, 2)  # charged 250
    assert policy.advance(tick) == [LevelChanged(A, Level(2), Level(3), LevelCause.QUANTUM)]
    assert policy.next_crossing_ns() == 200 + 350  # 400 less the 50 carried
    assert policy.advance(after(T0, 5)) == []
    assert policy.advance(after(T0, 6)) == [LevelChanged(A, Level(3), Level(4), LevelCause.QUANTUM)]


def test_a_drop_reaches_the_level_that_holds_the_next_iteration() -> None:
    policy = MlfqPolicy("skipjoin", COST)
    policy.submitted(attributes(A, prompt=50), T0)
    run(policy, A, T0)
    tick = after(T0, 1, step_ns=1_000)  # neighbours make an iteration longer than any quantum so far
    (change,) = policy.advance(tick)
    assert change.new == 6  # 800 carried + 1000 to come <= 3200


def test_nobody_is_demoted_before_the_first_token() -> None:
    policy = MlfqPolicy("mlfq", COST, skip_join=False)
    policy.submitted(attributes(A, prompt=500), T0)
    policy.join(A, T0)
    policy.charge(A, 250, 250, T0)
    assert policy.next_crossing_ns() is None
    assert policy.advance(T0) == []
    policy.leave(A, T0)  # between chunks it can be preempted, and keeps its place
    assert policy.level(A) == 1
    policy.join(A, T0)
    policy.charge(A, 250, 250, T0)
    policy.decoding(A, T0)
    assert policy.next_crossing_ns() == 0
    (change,) = policy.advance(T0)
    assert (change.old, change.new) == (1, 4)  # 400 carried + 100 to come <= 800


def test_a_preempted_job_keeps_its_place_and_a_demoted_one_goes_to_the_tail() -> None:
    policy = MlfqPolicy("skipjoin", COST)
    for handle in (A, B):
        policy.submitted(attributes(handle), T0)
    run(policy, A, T0)
    policy.leave(A, after(T0, 1))
    assert order(policy) == [A, B]
    policy.submitted(attributes(C, prompt=300), T0)  # level 3
    tick = after(T0, 1)
    run(policy, A, tick)
    policy.advance(after(tick, 1))
    assert order(policy) == [B, C, A]


def test_co_demoted_jobs_keep_their_order() -> None:
    policy = MlfqPolicy("skipjoin", COST)
    for handle in (A, B, C):
        policy.submitted(attributes(handle), T0)
    run(policy, C, T0, prefill_ns=90)  # crosses before the others
    run(policy, B, T0)
    run(policy, A, T0, prefill_ns=10)
    policy.advance(after(T0, 3))
    assert order(policy) == [A, B, C]


def test_the_version_moves_only_when_the_order_may_have() -> None:
    policy = MlfqPolicy("skipjoin", COST)
    policy.submitted(attributes(A), T0)
    version = policy.version
    run(policy, A, T0)
    policy.advance(after(T0, 1))
    policy.leave(A, after(T0, 1))
    assert policy.version == version
    run(policy, A, after(T0, 1))
    policy.advance(after(T0, 3))
    assert policy.version > version


def test_an_overdue_job_is_offered_once_and_promoted_when_granted() -> None:
    policy = MlfqPolicy("skipjoin", COST, LadderParams(), "granted")
    policy.submitted(attributes(A), T0)
    policy.submitted(attributes(B, prompt=300), Tick(5, 0, 0))
    assert policy.next_change_ns() == FLOOR
    assert policy.advance(Tick(FLOOR - 1, 0, 0)) == []
    assert list(policy.offers()) == []
    version = policy.version
    assert policy.advance(Tick(FLOOR, 0, 0)) == []  # an offer promotes nobody
    assert list(policy.offers()) == [A]
    assert policy.version == version + 1
    assert policy.next_change_ns() == FLOOR + 5  # goes on to the next deadline not yet offered
    late = Tick(FLOOR + 9, 0, 0)
    policy.advance(late)
    assert list(policy.offers()) == [A, B]
    assert policy.offers()[1] == B
    assert policy.grant(B, late) == LevelChanged(B, Level(3), Level(1), LevelCause.STARVATION)
    assert order(policy) == [B, A]
    assert policy.grant(B, late) is None
    assert policy.next_change_ns() is None  # level 1 is the top
    policy.join(A, late)
    assert list(policy.offers()) == []
    assert policy.grant(A, late) is None


def test_promotions_take_their_share_of_the_time_and_no_more() -> None:
    policy = MlfqPolicy("skipjoin", COST, LadderParams(starvation_floor_ns=10, starvation_share=0.25), "granted")
    policy.submitted(attributes(A), T0)
    policy.submitted(attributes(B), T0)
    granted = Tick(100, 0, 0)
    policy.advance(granted)
    assert policy.grant(A, granted) is not None
    assert list(policy.offers()) == []  # A holds the ration while it is on level 1
    run(policy, A, granted, prefill_ns=150)
    demoted = Tick(140, 0, 0)
    assert [change.cause for change in policy.advance(demoted)] == [LevelCause.QUANTUM]
    assert policy.next_change_ns() == 140 + 3 * 40
    policy.advance(Tick(259, 0, 0))
    assert list(policy.offers()) == []
    version = policy.version
    policy.advance(Tick(260, 0, 0))
    assert list(policy.offers()) == [B]
    assert policy.version == version + 1


def test_an_offer_behind_the_ration_moves_no_version() -> None:
    policy = MlfqPolicy("skipjoin", COST, LadderParams(starvation_floor_ns=10), "granted")
    policy.submitted(attributes(A, prompt=500), T0)
    policy.advance(Tick(10, 0, 0))
    assert policy.grant(A, Tick(10, 0, 0)) is not None
    policy.submitted(attributes(B, prompt=500, arrival=20), Tick(20, 0, 0))
    version = policy.version
    policy.advance(Tick(30, 0, 0))
    assert (
        policy.version == version
    )  # B is overdue, and nobody may be promoted: nothing has changed that a plan could use
    policy.removed(A, Tick(40, 0, 0))
    version = policy.version
    policy.advance(Tick(policy.next_change_ns() or 0, 0, 0))
    assert list(policy.offers()) == [B]
    assert policy.version == version + 1


def test_patience_grows_with_the_service_attained() -> None:
    policy = MlfqPolicy("skipjoin", COST, LadderParams(starvation_floor_ns=10, starvation_factor=8.0), "granted")
    policy.submitted(attributes(A), T0)
    run(policy, A, T0)
    tick = after(T0, 1)
    policy.leave(A, tick)
    assert policy.next_change_ns() == tick.now_ns + 800


def test_a_granted_job_gets_a_fresh_quantum() -> None:
    policy = MlfqPolicy("skipjoin", COST, LadderParams(starvation_floor_ns=10), "granted")
    policy.submitted(attributes(A), T0)
    run(policy, A, T0, prefill_ns=150)
    policy.leave(A, T0)
    tick = Tick(10_000, 0, 0)
    policy.advance(tick)
    policy.grant(A, tick)
    run(policy, A, tick)
    assert policy.next_crossing_ns() == 100


def test_the_papers_timer_promotes_at_once_and_off_never() -> None:
    paper, off = (MlfqPolicy("skipjoin", COST, LadderParams(), rule) for rule in ("paper", "off"))
    for policy in (paper, off):
        policy.submitted(attributes(A), T0)
    tick = Tick(300_000_000, 0, 0)
    assert paper.advance(tick) == [LevelChanged(A, Level(2), Level(1), LevelCause.STARVATION)]
    assert list(paper.offers()) == []
    assert off.next_change_ns() is None
    assert off.advance(Tick(10**15, 0, 0)) == []


def test_estimated_next_run_sums_what_higher_levels_may_use_first() -> None:
    policy = MlfqPolicy("skipjoin", COST)
    policy.submitted(attributes(A, prompt=50), T0)  # level 2: passes 200
    policy.submitted(attributes(B, prompt=250), T0)  # level 3: passes 400
    policy.submitted(attributes(C, prompt=500), T0)  # level 4
    assert policy.next_run_ns(A, T0, 4) == 0
    assert policy.next_run_ns(B, T0, 4) == 200 // 4
    assert policy.next_run_ns(C, T0, 4) == ((200 + 400) + 400) // 4
    policy.removed(B, T0)
    assert policy.next_run_ns(C, T0, 1) == 200 + 400
    policy.join(C, T0)
    assert policy.next_run_ns(C, T0, 1) == 0


def test_estimated_next_run_ends_at_the_papers_timer() -> None:
    policy = MlfqPolicy("skipjoin", COST, LadderParams(paper_alpha_ns=150), "paper")
    policy.submitted(attributes(A, prompt=50), T0)
    policy.submitted(attributes(B, prompt=250), T0)
    assert policy.next_run_ns(B, Tick(100, 0, 0), 1) == 50


def test_depths_report_levels_runs_and_the_longest_wait() -> None:
    policy = MlfqPolicy("skipjoin", COST)
    policy.submitted(attributes(A), T0)
    policy.submitted(attributes(B), Tick(30, 0, 0))
    policy.join(A, Tick(40, 0, 0))
    assert list(policy.depths(Tick(100, 0, 0))) == [(1, 0, 0, 0), (2, 2, 1, 70)]


def test_fcfs_ranks_by_arrival_and_holds_the_line() -> None:
    policy = make_policy("fcfs", COST)
    assert not policy.lower_may_pass
    assert not policy.preempts
    for handle, arrival in ((A, 30), (B, 10), (C, 10)):
        policy.submitted(attributes(handle, arrival=arrival), Tick(30, 0, 0))
    assert order(policy) == [B, C, A]
    run(policy, A, T0)
    assert order(policy, after(T0, 99)) == [B, C, A]


def test_srpt_counts_down_a_running_job_without_being_told() -> None:
    policy = make_policy("srpt-oracle", COST, max_batch=1)
    policy.submitted(attributes(A, prompt=10, output=12), T0)
    run(policy, A, T0, prefill_ns=10)  # 11 tokens left at 100 each
    policy.submitted(attributes(B, prompt=10, output=10), T0)  # 9 left, and its prompt
    assert order(policy) == [B, A]
    version = policy.version
    assert order(policy, after(T0, 2)) == [A, B]  # 9 left, prompt done
    assert policy.version == version
    policy.leave(A, after(T0, 4))
    assert policy.key(A, after(T0, 50)) == (700, A)


def test_srpt_without_lengths_says_so() -> None:
    policy = make_policy("srpt-oracle", COST)
    with pytest.raises(InvalidSettings, match="simulate"):
        policy.submitted(JobAttributes(A, 0, 1, 1, 1, 1), T0)


def test_demand_prices_the_larger_share() -> None:
    cost = LinearCostModel(1_000.0, 2.0, 0.5, 3.0, 7.0)
    slots, room = Demand(cost, 10), Demand(cost, 10, 100)
    assert slots.prefill_ns(4, 6) == 4 * 2 + (4 * 10) // 2
    assert slots.decode_ns(1, 49) == 1_000 // 10 + 7 + 3 * 50
    assert room.decode_ns(1, 49) == 1_000 * 50 // 100 + 7 + 3 * 50
    assert room.decode_ns(1, 4) == slots.decode_ns(1, 4)
    assert slots.decode_ns(0, 49) == 0
    with pytest.raises(InvalidSettings, match="max_batch"):
        Demand(cost, 0)


def test_unknown_policy_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InvalidSettings, match="lifo") as caught:
        make_policy("lifo", COST)
    assert all(name in str(caught.value) for name in POLICY_NAMES)


class LeastAttainedService(IndexPolicy):
    """A new policy is its index and when that worsens: here by bins of 500 ns."""

    name = "las"

    def index(self, job: JobEntry, tick: Tick) -> tuple[int, ...]:
        return (job.service_ns(tick) // 500,)

    def worsens_in_ns(self, job: JobEntry, tick: Tick) -> int | None:
        return 500 - job.service_ns(tick) % 500


def test_an_index_that_worsens_with_age_crosses_and_moves_the_version() -> None:
    policy = LeastAttainedService()
    for handle in (A, B):
        policy.submitted(attributes(handle), T0)
    run(policy, A, T0)
    assert policy.next_crossing_ns() == 500
    version = policy.version
    policy.advance(after(T0, 4))
    assert policy.version == version
    assert order(policy, after(T0, 4)) == [A, B]
    policy.advance(after(T0, 5))
    assert policy.version == version + 1
    assert policy.next_crossing_ns() == 1000
    assert order(policy, after(T0, 5)) == [B, A]
    policy.leave(A, after(T0, 6))
    assert policy.next_crossing_ns() is None
    check(policy, after(T0, 7))


def test_the_check_sees_a_broken_ladder() -> None:
    policy = MlfqPolicy("skipjoin", COST)
    policy.submitted(attributes(A), T0)
    run(policy, A, T0)
    check(policy, T0)
    policy._crossings.discard(A)
    with pytest.raises(InvariantViolation, match="watched"):
        check(policy, T0)
