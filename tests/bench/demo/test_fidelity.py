"""What several runs of the demo say together: medians, spread, and what fails."""

from __future__ import annotations

from dataclasses import replace

import pytest
from measured import result

from skipjoin.bench.demo.fidelity import KINDS, Fidelity, Kind, Repeat, at_own_speed, by_kind, verdicts
from skipjoin.bench.demo.runs import Pair
from skipjoin.bench.demo.scenario import load_scenario, scenario_files
from skipjoin.cost.linear import LinearCostModel
from skipjoin.cost.profiles import load_profile
from skipjoin.cost.sweep_row import SweepRow
from skipjoin.sim.world import simulate
from skipjoin.workload.statistics import summarize

FIRST, SECOND = map(load_scenario, scenario_files())


def _pair(
    policy: str, live_s: float | None, simulated_s: float | None = 1.0, *, failures: tuple[str, ...] = ()
) -> Pair:
    live = replace(result(policy), mean_jct_s=live_s)
    simulated = replace(result(policy), mean_jct_s=simulated_s)
    return Pair(policy, live, simulated, failures, lag_p99_ms=0.5, trustworthy=True)


def _round(**live_s: float | None) -> dict[str, Repeat]:
    return {policy: Repeat(0, _pair(policy, jct_s)) for policy, jct_s in live_s.items()}


def _fidelity(**more: object) -> Fidelity:
    plain = Fidelity("a scenario", "adaptive", (1.0,), (4.0,), truths=(1.0,), costs=(1.0,))
    return replace(plain, **more)  # type: ignore[arg-type]


def test_the_fidelity_of_a_pair() -> None:
    assert _pair("fcfs", 4.0).fidelity == 0.25
    assert _pair("fcfs", None).fidelity is None
    assert _pair("fcfs", 4.0, None).fidelity is None


@pytest.mark.parametrize(
    ("ratios", "median", "holds"),
    [
        ((1.0,), 1.0, True),
        ((0.5, 1.05, 3.0), 1.05, True),
        ((1.0, 1.0, 1.2, 1.2, 1.2), 1.2, False),
        ((0.85, 0.89, 1.0), 0.89, False),
        ((0.88, 0.94), 0.91, True),
    ],
)
def test_simulator_and_profile_are_judged_by_the_median(ratios: tuple[float, ...], median: float, holds: bool) -> None:
    verdict = _fidelity(truths=ratios)
    assert (verdict.faithful, verdict.priced) == (holds, True)
    assert verdict.holds is holds
    verdict = _fidelity(costs=ratios)
    assert (verdict.faithful, verdict.priced) == (True, holds)
    assert verdict.holds is holds
    assert _fidelity(ratios=ratios).median == pytest.approx(median)
    assert _fidelity(ratios=ratios).holds  # the profile's error, many times over


@pytest.mark.parametrize(
    ("over_base", "most", "early", "holds"),
    [
        ((), 0.8, None, True),
        ((0.9,), None, None, True),
        ((0.8,), 0.8, True, True),
        ((0.5, 0.81, 0.9), 0.8, False, False),
        ((0.5, 0.79, 3.0), 0.8, True, True),
    ],
)
def test_mean_jct_over_that_of_fcfs_is_judged_by_the_median(
    over_base: tuple[float, ...], most: float | None, early: bool | None, holds: bool
) -> None:
    verdict = _fidelity(over_base=over_base, most_over_base=most)
    assert (verdict.early, verdict.holds) == (early, holds)


def test_a_failed_request_spoils_it() -> None:
    assert not _fidelity(failed=1).holds


def test_equal_live_runs_differ() -> None:
    assert _fidelity(live_jct_s=(4.0, 5.0, 4.5)).live_spread == pytest.approx(0.25)
    assert _fidelity(live_jct_s=(4.0,)).live_spread == 0.0


def test_a_run_is_compared_with_fcfs_of_its_own_round() -> None:
    rounds = [_round(fcfs=2.0, skipjoin=3.0, adaptive=1.0), _round(fcfs=8.0, skipjoin=2.0, adaptive=2.0)]
    fcfs, skipjoin, adaptive = verdicts(FIRST, rounds)
    assert (fcfs.policy, fcfs.over_base, fcfs.live_jct_s, fcfs.ratios) == ("fcfs", (), (2.0, 8.0), (0.5, 0.125))
    assert (skipjoin.over_base, adaptive.over_base) == ((1.5, 0.25), (0.5, 0.25))
    assert adaptive.median_over_base == 0.375 and fcfs.median_over_base is None
    assert {one.scenario for one in (fcfs, skipjoin, adaptive)} == {"many short, few long"}
    assert [one.most_over_base for one in (fcfs, skipjoin, adaptive)] == [None, None, 0.8]
    assert [one.most_over_base for one in verdicts(SECOND, rounds)] == [None, None, 1.0]


def test_what_is_unknown_is_left_out() -> None:
    rounds = [_round(fcfs=None, skipjoin=3.0), _round(fcfs=4.0, skipjoin=2.0)]
    fcfs, skipjoin = verdicts(FIRST, rounds)
    assert (fcfs.live_jct_s, skipjoin.live_jct_s, skipjoin.over_base) == ((4.0,), (3.0, 2.0), (0.5,))
    (alone,) = verdicts(FIRST, [_round(adaptive=3.0)])
    assert (alone.over_base, alone.early) == ((), None)
    assert [one.policy for one in verdicts(FIRST, [_round(fcfs=None, adaptive=1.0)])] == ["adaptive"]
    assert list(verdicts(FIRST, [])) == []


def test_failures_of_all_runs_are_counted() -> None:
    failures = (("lost", "late"), ("lost",))
    rounds = [{"fcfs": Repeat(0, _pair("fcfs", 1.0, failures=which))} for which in failures]
    (verdict,) = verdicts(FIRST, rounds)
    assert verdict.failed == 3 and verdict.faithful is None and not verdict.holds


def test_a_run_between_two_profiles_that_differ_is_shown_and_set_apart() -> None:
    runs = [(4.0, 0.0, 1.0), (1.0, 0.11, 2.0), (2.0, -0.09, 1.2), (8.0, -0.2, 2.0)]
    rounds = [
        {"fcfs": Repeat(at, _pair("fcfs", live_s), drift, {"decodes": Kind(9, ratio, 1.0)})}
        for at, (live_s, drift, ratio) in enumerate(runs)
    ]
    (verdict,) = verdicts(FIRST, rounds)
    assert (verdict.ratios, verdict.apart) == ((0.25, 0.5), (1.0, 0.125))
    assert verdict.kinds == {"decodes": pytest.approx(1.1)} and verdict.costs == (1.0, 1.2)
    assert len(verdict.live_jct_s) == 4
    late = replace(_pair("fcfs", 1.0), trustworthy=False)
    (verdict,) = verdicts(FIRST, [{"fcfs": Repeat(0, late)}])
    assert (verdict.ratios, verdict.apart, verdict.median, verdict.faithful, verdict.holds) == (
        (),
        (1.0,),
        None,
        None,
        True,
    )


def test_iterations_are_told_apart_by_what_they_held() -> None:
    cost = LinearCostModel(1e6, 1e4, 0.0, 0.0, 1e5)
    rows = [
        SweepRow(((100, 0),), 0, 0, 4_000_000),
        SweepRow((), 3, 90, 1_300_000),
        SweepRow((), 1, 30, 2_600_000),
        SweepRow(((10, 0), (10, 16)), 2, 60, 1_400_000),
    ]
    found = by_kind(rows, cost)
    assert list(found) == list(KINDS)
    assert [one.iterations for one in found.values()] == [1, 2, 1]
    assert [one.ratio for one in found.values()] == pytest.approx([0.5, 2.4 / 3.9, 1.0])
    assert list(by_kind(rows[1:2], cost)) == ["decodes"]


def test_a_run_set_apart_still_says_how_true_the_simulator_is_at_its_speed() -> None:
    runs = [
        Repeat(0, _pair("fcfs", 4.0), 0.5, own_jct_s=3.9),
        Repeat(1, _pair("fcfs", 2.0), own_jct_s=2.2),
        Repeat(2, replace(_pair("fcfs", 2.0), trustworthy=False), own_jct_s=9.0),
        Repeat(3, _pair("fcfs", 2.0)),
    ]
    (verdict,) = verdicts(FIRST, [{"fcfs": one} for one in runs])
    assert verdict.truths == pytest.approx((0.975, 1.1)) and verdict.faithful
    assert runs[3].truth is None and Repeat(0, _pair("fcfs", None), own_jct_s=1.0).truth is None


def test_at_its_own_speed_a_run_has_the_costs_of_its_record() -> None:
    profile = load_profile("opt-13b-a100")
    slow = replace(profile.model, fixed_ns=3 * profile.model.fixed_ns, decode_job_ns=3 * profile.model.decode_job_ns)
    rows = [
        SweepRow(chunks, jobs, contexts, slow.iteration_ns(chunks, jobs, contexts))
        for chunks in ((), ((100, 0),), ((400, 0),), ((300, 600),))
        for jobs, contexts in ((1, 40), (3, 900), (8, 1000), (8, 4000))
    ]
    workload, _ = FIRST.fitted(profile, 5.0)
    quick = summarize("fcfs", 0, simulate(FIRST.machine(profile), "fcfs", workload).jobs).mean_jct_s
    own = at_own_speed(FIRST, "fcfs", profile, workload, rows)
    told = summarize(
        "fcfs", 0, simulate(FIRST.machine(replace(profile, model=slow, tables=None)), "fcfs", workload).jobs
    ).mean_jct_s
    assert own == pytest.approx(told, rel=0.02) and own > 1.5 * quick
    assert at_own_speed(FIRST, "fcfs", profile, workload, rows[:2]) is None
