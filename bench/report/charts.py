"""The charts of a matrix: distributions, a measure against load, the plane of mean and tail, and
small runs job by job.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ...scheduler.series import parse
from ..charts.lines import Line, LineChart, Point, line_sheet, scale_axes
from ..charts.looks import look, ordered
from ..charts.sheet import COLOURS, Sheet, sheet
from ..matrix.summary import Cell, Results, knows_lengths

PANEL = 290.0, 215.0
PLANE = 520.0, 380.0
PLACES = [(across, way * away) for away in range(3, 80, 4) for way in (1, -1) for across in (6, -6)]
"""Of a label beside its spot in points, the best ones first."""
TIMELINE_WIDE, TIMELINE_ROW = 1100.0, 12.0


def cdf(results: Results, cell: Cell) -> str:
    """Share of jobs done within a time, a line a policy."""
    quantiles, lines = results.quantiles[cell], []
    for policy in reversed(ordered(list(quantiles))):
        values = quantiles[policy]
        steps = [(value, (at + 1) / len(values)) for at, value in enumerate(values)]
        median, late = values[len(values) // 2], values[int(len(values) * 0.99) - 1]
        lines.append(Line(policy, steps, look(policy), f"{policy}: median {median:.3g} s, P99 {late:.3g} s"))
    words = f"Distribution of job completion times: {cell.trace}, load {cell.load:g}, batch {cell.batch}"
    chart = LineChart(lines, "job completion time (s)", "share of jobs done", log="x", y_span=(0.0, 1.0))
    return line_sheet(words, [[chart]], *PANEL)


def against_load(results: Results, trace: str, batch: int, measure: str, words: str) -> str:
    """A measure over that of fcfs against load, a line a policy: in seconds the load would hide who
    is better.
    """
    cells = [cell for cell in results.cells if cell.trace == trace and cell.batch == batch]
    lines = []
    for policy in reversed(ordered(results.policies)):
        known = [(cell, ratio) for cell in cells if (ratio := results.to_fcfs(cell, policy, measure)) is not None]
        if known:
            said = (f"{results.measures[cell][policy][measure]:.3g} s at {cell.load:g}" for cell, _ in known)
            points = [(cell.load, ratio) for cell, ratio in known]
            lines.append(Line(policy, points, look(policy), f"{policy}: {', '.join(said)}", points))
    if not lines:
        return ""
    alt = f"{words} over that of fcfs against load: {trace}, batch {batch}"
    chart = LineChart(lines, "load", f"{words} / fcfs", log="y", x_at=[cell.load for cell in cells])
    return line_sheet(alt, [[chart]], *PANEL)


# the plane of mean and P99 ------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Spot:
    """A policy on the plane, perhaps at one setting of its dial: ratios to fcfs."""

    policy: str
    mean: float
    late: float


@dataclass(frozen=True, slots=True)
class Others:
    """A front that others reached: (mean, P99) over fcfs, and whose it is."""

    name: str
    source: str
    points: tuple[Point, ...]


def front(spots: Sequence[Spot]) -> list[Spot]:
    """Those that no other beats in both, by rising P99, but for those that know lengths."""
    best: list[Spot] = []
    for spot in sorted((one for one in spots if not knows_lengths(one.policy)), key=lambda one: (one.late, one.mean)):
        if not best or spot.mean < best[-1].mean:
            best.append(spot)
    return best


def dialled(spots: Sequence[Spot]) -> dict[str, list[tuple[float, Spot]]]:
    """The settings of each dial that stands on the plane more than once, by rising setting."""
    found: dict[str, list[tuple[float, Spot]]] = defaultdict(list)
    for spot in spots:
        series = parse(spot.policy)
        if series.tail is not None:
            found[series.policy].append((series.tail, spot))
    return {policy: sorted(mine, key=lambda one: one[0]) for policy, mine in found.items() if len(mine) > 1}


def plane(spots: Sequence[Spot], words: str, others: Sequence[Others] = ()) -> str:
    """Mean over P99, both as ratios to fcfs.

    Drawn are the front of those that no other beats in both, a line through the points of one dial,
    and the fronts of others.
    """
    best, dials = front(spots), dialled(spots)
    with sheet(words, *PLANE) as drawn:
        axes = drawn.axes[0][0]
        axes.set(xlabel="P99 / fcfs", ylabel="mean / fcfs")
        axes.axhline(1.0, color=COLOURS["faint"], linestyle="dashed", linewidth=0.8)
        axes.axvline(1.0, color=COLOURS["faint"], linestyle="dashed", linewidth=0.8)
        # Stairs: between two spots of the front nothing is offered but the better tail.
        corners = [one.late for one in best], [one.mean for one in best]
        axes.plot(*corners, drawstyle="steps-post", color=COLOURS["faint"], linestyle="dashed")
        for policy, mine in dials.items():
            (line,) = axes.plot([one.late for _, one in mine], [one.mean for _, one in mine], **look(policy).stroke())
            drawn.say(line, f"{policy}: its dial from end to end")
        for one in others:
            told = f"{one.name}, by {one.source}: {', '.join(f'mean {m:g} P99 {p:g}' for m, p in one.points)}"
            means, lates = zip(*one.points, strict=True)
            (line,) = axes.plot(lates, means, linestyle="dotted", marker="s", color=COLOURS["faint"])
            drawn.say(line, told)
        for spot in spots:
            _dot(drawn, spot, strong=spot in best)
        scale_axes(axes, "xy")
        _label(drawn, axes, [*_names(spots, dials, best), *((*one.points[-1], one.name, False) for one in others)])
    return drawn.svg


def _dot(drawn: Sheet, spot: Spot, *, strong: bool) -> None:
    colour = COLOURS[look(spot.policy).colour]
    fill = "none" if knows_lengths(spot.policy) else colour
    dot = drawn.axes[0][0].scatter(spot.late, spot.mean, s=40 if strong else 20, color=fill, edgecolor=colour, zorder=3)
    drawn.say(dot, f"{spot.policy}: mean {spot.mean:.2f}, P99 {spot.late:.2f} of fcfs")


Name = tuple[float, float, str, bool]
"""Mean, P99, words, whether they are strong."""


def _names(spots: Sequence[Spot], dials: dict[str, list[tuple[float, Spot]]], best: Sequence[Spot]) -> list[Name]:
    """Of one dial the first setting has the policy's name, the others their number alone."""
    short = {
        spot.policy: f"{policy} {tail:g}" if place == 0 else f"{tail:g}"
        for policy, mine in dials.items()
        for place, (tail, spot) in enumerate(mine)
    }
    by_height = sorted(spots, key=lambda one: (-one.mean, one.late))
    return [(one.mean, one.late, short.get(one.policy, one.policy), one in best) for one in by_height]


def _label(drawn: Sheet, axes: Any, names: Sequence[Name]) -> None:
    """Words beside their spots, at the first of several places where they cover none before them."""
    drawn.figure.draw_without_rendering()  # lays out what words are measured by
    taken: list[Any] = []
    for mean, late, words, strong in names:
        weight = "bold" if strong else "normal"
        shown = axes.annotate(words, (late, mean), (0, 0), textcoords="offset points", fontsize="small", weight=weight)
        shown.set_in_layout(False)
        for across, up in PLACES:
            shown.set(position=(across, up), ha="left" if across > 0 else "right")
            box = shown.get_window_extent()
            if not any(box.overlaps(other) for other in taken):
                break
        taken.append(box)


# a small run, job by job --------------------------------------------------------------------------
def last_s(drawn: dict[str, Any]) -> float:
    """When the last job of a run ends."""
    return max(float(job["end_s"]) for job in drawn["jobs"])


def timeline(told: dict[str, Any], until_s: float) -> str:
    """A row a job, in order of arrival, over 0..`until_s`.

    Thin while it waits, thick while it is in the batch, a mark at its first token.
    """
    jobs, policy = told["jobs"], told["key"]["policy"]
    colour = COLOURS[look(policy).colour]
    high = 45 + TIMELINE_ROW * len(jobs)
    with sheet(f"Jobs of the small run under {policy}", TIMELINE_WIDE, high) as drawn:
        axes = drawn.axes[0][0]
        axes.set(xlim=(0, until_s), ylim=(len(jobs) - 0.5, -0.5), xlabel="seconds")
        axes.grid(visible=False, axis="y")
        axes.set_yticks([])
        for row, job in enumerate(jobs):
            axes.hlines(row, job["arrival_s"], job["end_s"], color=COLOURS["other"], linewidth=1.2)
            runs = [(start, end - start) for start, end in job["runs_s"]]
            drawn.say(axes.broken_barh(runs, (row - 0.32, 0.64), color=colour, zorder=2), _said(row, job))
            axes.vlines(job["first_token_s"], row - 0.4, row + 0.4, color="white", linewidth=1.5, zorder=3)
    return drawn.svg


def _said(row: int, job: dict[str, Any]) -> str:
    return (
        f"job {row + 1}: {job['prompt_tokens']} prompt tokens, {job['output_tokens']} output tokens; "
        f"first token after {job['first_token_s'] - job['arrival_s']:.1f} s, "
        f"done after {job['end_s'] - job['arrival_s']:.1f} s, in the batch {len(job['runs_s'])} times"
    )
