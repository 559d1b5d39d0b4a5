"""Measurements as tables for a person.

Owns labels, units, rounding and the words of a verdict. It computes nothing that is not in the values; the command calls it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from .against import LEAST, Against, whole_of
from .pool import PoolFigures
from .table import DASH, grid
from .turn import Timing, TurnReport


def _whole(value: float) -> str:
    return f"{value:,.0f}"


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
