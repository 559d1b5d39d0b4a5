"""The charts of a matrix: JCT distributions, a measure against load.

Owns what is drawn where inside a chart. It knows results and looks, no HTML around them; `page` puts the charts in order.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..matrix.summary import Cell, Results
from .style import look, ordered
from .svg import Scale, fitted, line, picture, polyline, short, tag, text, title

WIDE, HIGH = 290.0, 215.0
LEFT, RIGHT, TOP, BOTTOM = 40.0, 10.0, 2.0, 34.0


def thinned(points: Iterable[tuple[float, float]], pixels: float = 1.5) -> list[tuple[float, float]]:
    """The points without those that nobody could tell from the one before; the last one stays."""
    kept: list[tuple[float, float]] = []
    last = None
    for last in points:
        if not kept or abs(last[0] - kept[-1][0]) + abs(last[1] - kept[-1][1]) >= pixels:
            kept.append(last)
    return kept if last is None or kept[-1] == last else [*kept, last]


@dataclass(frozen=True, slots=True)
class Series:
    """A policy's points, in the units of the axes, and what is said where one points at them."""

    policy: str
    points: list[tuple[float, float]]
    said: str


def axes(x: Scale, y: Scale, x_words: str, y_words: str, *, x_at: Sequence[float] | None = None) -> str:
    """Grid, ticks and the names of both axes."""
    parts = []
    for value in y.ticks():
        at = y(value)
        parts.append(line(x.start, at, x.stop, at, class_="grid"))
        parts.append(text(x.start - 6, at + 3.5, short(value), text_anchor="end"))
    for value in apart(x.ticks() if x_at is None else x_at, x):
        at = x(value)
        parts.append(line(at, y.start, at, y.start + 4, class_="axis"))
        parts.append(text(at, y.start + 16, short(value), text_anchor="middle"))
    parts.append(line(x.start, y.start, x.stop, y.start, class_="axis"))
    parts.append(text((x.start + x.stop) / 2, y.start + 30, x_words, text_anchor="middle"))
    # The name of the y axis stands above it: turned letters are hard to read.
    parts.append(text(x.start, y.stop - 6, y_words))
    return "".join(parts)


def cdf(results: Results, cell: Cell) -> str:
    """Share of jobs done within a time, a line a policy."""
    quantiles = results.quantiles[cell]
    times = [value for values in quantiles.values() for value in (values[len(values) // 50], values[-1])]
    x = fitted(times, LEFT, WIDE - RIGHT, log=True, room=0.03)
    y = Scale(0.0, 1.0, HIGH - BOTTOM, TOP + 14)
    drawn = []
    for policy in reversed(ordered(list(quantiles))):
        values = quantiles[policy]
        steps = ((x(value), y((at + 1) / len(values))) for at, value in enumerate(values) if value >= x.low)
        median, late = values[len(values) // 2], values[int(len(values) * 0.99) - 1]
        said = title(f"{policy}: median {median:.3g} s, P99 {late:.3g} s")
        drawn.append(polyline(thinned(steps), said, **look(policy).stroke()))
    words = f"Distribution of job completion times: {cell.trace}, load {cell.load:g}, batch {cell.batch}"
    return picture(WIDE, HIGH, words, axes(x, y, "job completion time (s)", "share of jobs done"), *drawn)


def against_load(results: Results, trace: str, batch: int, measure: str, words: str) -> str:
    """A measure over that of fcfs against load, a line a policy: in seconds the load would hide who is better."""
    cells = [cell for cell in results.cells if cell.trace == trace and cell.batch == batch]
    loads = [cell.load for cell in cells]
    series = []
    for policy in reversed(ordered(results.policies)):
        known = [(cell, ratio) for cell in cells if (ratio := results.to_fcfs(cell, policy, measure)) is not None]
        if known:
            said = (f"{results.measures[cell][policy][measure]:.3g} s at {cell.load:g}" for cell, _ in known)
            points = [(cell.load, ratio) for cell, ratio in known]
            series.append(Series(policy, points, f"{policy}: {', '.join(said)}"))
    if not series:
        return ""
    x = (
        fitted(loads, LEFT, WIDE - RIGHT, room=0.05)
        if len(loads) > 1
        else Scale(loads[0] - 1, loads[0] + 1, LEFT, WIDE)
    )
    y = fitted([value for one in series for _, value in one.points], HIGH - BOTTOM, TOP + 14, log=True)
    drawn = []
    for one in series:
        points = [(x(load), y(value)) for load, value in one.points]
        fill = look(one.policy).paint("fill")
        dots = (tag("circle", title(one.said), cx=at_x, cy=at_y, r=2.4, style=fill) for at_x, at_y in points)
        drawn.append(polyline(points, title(one.said), **look(one.policy).stroke()) + "".join(dots))
    alt = f"{words} over that of fcfs against load: {trace}, batch {batch}"
    return picture(WIDE, HIGH, alt, axes(x, y, "load", f"{words} / fcfs", x_at=loads), *drawn)


def apart(values: Sequence[float], scale: Scale, pixels: float = 24.0) -> list[float]:
    """Those of rising `values` whose labels do not touch."""
    kept: list[float] = []
    for value in values:
        if kept and scale(value) - scale(kept[-1]) < pixels:
            continue
        kept.append(value)
    return kept
