"""Measurements as tables for a person.

Owns labels, units, rounding and the words of a verdict. It computes nothing that is not in the values; the command calls it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from statistics import median

from ..workload.statistics import RunResult
from .against import LEAST, Against, whole_of
from .fidelity import BASE, WITHIN, Fidelity, Repeat
from .live import LiveStudy
from .outcome import Shown
from .pool import PoolFigures
from .scenario import Scenario
from .table import DASH, grid
from .turn import Timing, TurnReport

BUSY = "busy: not judged,"


def _seconds(value: float) -> str:
    return f"{value:.3f}" if value < 100 else f"{value:.1f}"


def _whole(value: float) -> str:
    return f"{value:,.0f}"


ROWS: tuple[tuple[str, str, Callable[[float], str]], ...] = (
    ("jobs", "requests", _whole),
    ("mean JCT (s)", "mean_jct_s", _seconds),
    ("P50 JCT (s)", "p50_jct_s", _seconds),
    ("P95 JCT (s)", "p95_jct_s", _seconds),
    ("P99 JCT (s)", "p99_jct_s", _seconds),
    ("normalised latency (s/token)", "mean_normalized_latency_s", lambda value: f"{value:.4f}"),
    ("mean TTFT (s)", "mean_ttft_s", _seconds),
    ("P99 TTFT (s)", "p99_ttft_s", _seconds),
    ("mean TPOT (ms)", "mean_tpot_s", lambda value: f"{value * 1e3:.1f}"),
    ("output tokens a second", "output_token_throughput", lambda value: f"{value:,.1f}"),
    ("makespan (s)", "makespan_s", _seconds),
    ("worst slowdown", "max_slowdown", lambda value: f"{value:,.1f}"),
    ("preemptions", "preemptions", _whole),
    ("MB of KV moved", "bytes_moved", lambda value: f"{value / 1e6:,.0f}"),
    ("tokens recomputed", "tokens_recomputed", _whole),
)


def table(columns: Sequence[tuple[str, RunResult]]) -> str:
    """One column a run, one line a number; what is not known is a dash."""
    lines = [["", *(title for title, _ in columns)]]
    for label, field, show in ROWS:
        values = [getattr(result, field) for _, result in columns]
        lines.append([label, *(DASH if value is None else show(value) for value in values)])
    return grid(lines)


def print_live(study: LiveStudy) -> None:
    """A live run."""
    rate = "as recorded" if study.rate_per_s is None else f"{study.rate_per_s:.3f} requests a second"
    load = "" if study.load is None else f", load {study.load:g}"
    print(f"{study.trace} against {study.target}: {rate}{load}, seed {study.seed}\n")
    print(table([(study.result.policy or "live", study.result)]))
    for failure, count in study.failures.items():
        print(f"{count} failed: {failure}")
    word = "kept its schedule" if study.trustworthy else "was TOO LATE for these figures to be trusted"
    print(f"The generator {word}: lag P99 {study.lag_p99_ms:.1f} ms, worst {study.lag_max_ms:.1f} ms")


def print_timing(timing: Timing) -> None:
    """One line as soon as a situation is measured."""
    target = DASH if timing.target is None else f"<= {timing.target:g}"
    verdict = "" if timing.holds is None else " ok" if timing.holds else " ABOVE"
    print(
        f"{timing.name:<28} {timing.median_ms:>10.4f} {timing.p95_ms:>10.4f} {timing.turns:>7}"
        f" {timing.units:>9.4f} {target:>8}{verdict}"
    )
    sys.stdout.flush()


def print_turn_head(batch: int, live: int) -> None:
    """What the columns of `print_timing` are."""
    print(f"Steps 3-5 and 7 of a turn, CPU time of the thread, batch {batch}, {live:,} live jobs")
    _print_columns()


def print_work_head(model: str, batch: int, prompt_tokens: int) -> None:
    """What the columns of `print_timing` are, for whole iterations."""
    print(
        f"An engine's thread beside the forward pass, CPU time, {model}, batch {batch}, prompts of about {prompt_tokens}"
    )
    _print_columns()


def print_pace_head() -> None:
    """What the columns of `print_timing` are, for runs of the simulator and calls of the command."""
    print("Processor time of a simulated second (chats, opt-13b-a100, load 0.9, batch 64) and of a call")
    _print_columns()


def _print_columns() -> None:
    print(f"{'':<28} {'median ms':>10} {'P95 ms':>10} {'turns':>7} {'units':>9} {'target':>8}")


def print_turn_tail(report: TurnReport) -> None:
    """The ratio of the queues."""
    short, long = report.queue_jobs
    verdict = "ok" if report.queue_ratio <= report.target_ratio else "ABOVE"
    print(
        f"{long:,} / {short:,} queued, equal change: {report.queue_ratio:.3f} (target <= {report.target_ratio:g}) {verdict}"
    )


def print_pools(figures: Sequence[PoolFigures]) -> None:
    """Job pools side by side."""
    lines = [["", *(f"{one.pool}{'' if one.durable else ' (not durable)'}" for one in figures)]]
    lines += [
        ["submits a second, 1 in flight", *(_whole(one.submits_alone_per_s) for one in figures)],
        [f"submits a second, {figures[0].in_flight} in flight", *(_whole(one.submits_per_s) for one in figures)],
        [f"commits a second, {figures[0].batch} jobs each", *(_whole(one.commits_per_s) for one in figures)],
        ["tokens logged a second", *(_whole(one.tokens_per_s) for one in figures)],
    ]
    print(grid(lines), end="")


def print_against(found: Sequence[Against]) -> None:
    """This code beside another checkout: a line a figure, then all of them together."""
    lines = [["the other's time over ours", "median", "least", "most", f"at least {LEAST:g}"]]
    for one in found:
        least, most = min(one.ratios), max(one.ratios)
        lines.append(
            [one.name, *(f"{ratio:.3f}" for ratio in (one.median, least, most)), "SLOWER" if one.slower else "ok"]
        )
    whole = whole_of(found)
    lines.append(["all together", f"{whole:.3f}", "", "", "ok" if whole >= LEAST else "SLOWER"])
    print(grid(lines), end="")


def print_shown(shown: Shown) -> None:
    """A scenario of the demo: live and simulated side by side, the oracle, the bars."""
    scenario = shown.scenario
    print(
        f"\n{scenario.title}: {shown.requests} jobs, {shown.rate_per_s:.2f} a second = load {scenario.load:g}"
        f" of {shown.drain_rate_per_s:.2f}, batch {scenario.max_batch}, KV of {scenario.kv_mean_jobs:g} mean jobs,"
        f" seed {scenario.seed}\n"
    )
    columns = [(pair.policy, pair.live) for pair in shown.pairs]
    columns += [(f"{pair.policy} (sim)", pair.simulated) for pair in shown.pairs]
    columns.append((f"{shown.oracle.policy} (sim)", shown.oracle))
    print(table(columns))
    for pair in shown.pairs:
        if pair.fidelity is not None:
            print(f"simulated / live mean JCT under {pair.policy}: {pair.fidelity:.3f}")
    for bar in shown.bars():
        print(f"{BUSY if shown.disturbed and bar.timed else _verdict(bar.holds)} {bar.says}")
    if shown.disturbed:
        print(
            f"The machine was busy, so what is timed is not judged (--check judges it): {'; '.join(shown.disturbed)}."
        )
    sys.stdout.flush()


def print_repeat(scenario: Scenario, said: Repeat) -> None:
    """One of several runs."""
    pair = said.pair
    live, simulated = pair.live.mean_jct_s or 0.0, pair.simulated.mean_jct_s or 0.0
    ratio, truth = (DASH if one is None else f"{one:.3f}" for one in (pair.fidelity, said.truth))
    late = "" if pair.trustworthy else f"  generator {pair.lag_p99_ms:.1f} ms late"
    print(
        f"{scenario.title}, run {said.number + 1} {pair.policy:<10}"
        f" live {live:8.3f} s  simulated {simulated:8.3f} s  ratio {ratio}  at its own speed {truth}  drift {said.drift:+.1%}{late}"
        f"{'  set apart' if said.apart else ''}"
    )
    kinds = [f"{kind} {one.ratio:.3f} of {one.iterations:,}" for kind, one in said.kinds.items()]
    if kinds:
        print(f"     iterations predicted / measured: {', '.join(kinds)}")
    sys.stdout.flush()


def print_fidelity(said: Fidelity) -> None:
    """The verdict on all runs of a policy: the simulator's truth, and mean JCT beside that of fcfs."""
    title = f"{said.scenario}, {said.policy}"
    truths, costs, ratios = (_spread(one) if one else "not judged" for one in (said.truths, said.costs, said.ratios))
    bar = f"(bar: median within {WITHIN:.0%} of 1)"
    print(
        f"{_verdict(said.faithful)} {title}: simulated / live mean JCT at each run's own speed {truths} {bar};"
        f" equal live runs differ by up to {said.live_spread:.0%}"
    )
    print(f"{_verdict(said.priced)} {title}: iterations predicted / measured {costs} {bar}")
    if said.kinds:
        kinds = ", ".join(f"{kind} {ratio:.3f}" for kind, ratio in said.kinds.items())
        print(f"     {title}: the same by kind, medians: {kinds}")
    apart = f"; set apart {', '.join(f'{ratio:.3f}' for ratio in said.apart)}" if said.apart else ""
    print(f"     {title}: simulated / live mean JCT by the profiles before and after {ratios}{apart}")
    if said.over_base:
        most = said.most_over_base
        bar = "" if most is None else f" (bar: median at most {most:g})"
        print(f"{_verdict(said.early)} {title}: live mean JCT over {BASE}'s {_spread(said.over_base)}{bar}")
    if said.failed:
        print(f"{_verdict(False)} {title}: {said.failed} requests failed")
    sys.stdout.flush()


def _spread(ratios: Sequence[float]) -> str:
    each = ", ".join(f"{ratio:.3f}" for ratio in ratios)
    return f"{median(ratios):.3f} [{min(ratios):.3f}..{max(ratios):.3f}], the median of {each}"


def _verdict(holds: bool | None) -> str:
    """Nothing where nothing is asked."""
    return "    " if holds is None else "ok  " if holds else "FAIL"
