"""The charts of a matrix: JCT distributions, a measure against load, the plane of mean and P99.

Owns what is drawn where inside a chart. It knows results and looks, no HTML around them; `page` puts the charts in order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..matrix.summary import ORACLE, Cell, Results
from .style import look, ordered
from .svg import Scale, fitted, line, picture, polyline, short, tag, text, title

WIDE, HIGH = 290.0, 215.0
LEFT, RIGHT, TOP, BOTTOM = 40.0, 10.0, 2.0, 34.0


@dataclass(frozen=True, slots=True)
class Series:
    """A policy's points, in the units of the axes."""

    policy: str
    points: list[tuple[float, float]]


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
        points = [(x(value), y((at + 1) / len(values))) for at, value in enumerate(values) if value >= x.low]
        median, late = values[len(values) // 2], values[int(len(values) * 0.99) - 1]
        said = title(f"{policy}: median {median:.3g} s, P99 {late:.3g} s")
        drawn.append(polyline(points, said, **look(policy).stroke()))
    words = f"Distribution of job completion times: {cell.trace}, load {cell.load:g}, batch {cell.batch}"
    return picture(WIDE, HIGH, words, axes(x, y, "job completion time (s)", "share of jobs done"), *drawn)


def against_load(results: Results, trace: str, batch: int, measure: str, words: str) -> str:
    """A measure in seconds over the loads, a line a policy; the bounds of the mean below it."""
    cells = [cell for cell in results.cells if cell.trace == trace and cell.batch == batch]
    series = [
        Series(
            policy,
            [
                (cell.load, value)
                for cell in cells
                if (value := results.measures[cell].get(policy, {}).get(measure)) is not None
            ],
        )
        for policy in reversed(ordered(results.policies))
    ]
    loads = [cell.load for cell in cells]
    x = (
        fitted(loads, LEFT, WIDE - RIGHT, room=0.05)
        if len(loads) > 1
        else Scale(loads[0] - 1, loads[0] + 1, LEFT, WIDE)
    )
    values = [value for one in series for _, value in one.points]
    y = fitted(values, HIGH - BOTTOM, TOP + 14, log=True)
    drawn = []
    for one in series:
        said = title(f"{one.policy}: " + ", ".join(f"{value:.3g} s at {load:g}" for load, value in one.points))
        points = [(x(load), y(value)) for load, value in one.points]
        style = look(one.policy).stroke()
        dots = "".join(
            tag("circle", said, cx=at_x, cy=at_y, r=2.4, style=f"fill:var(--{look(one.policy).colour})")
            for at_x, at_y in points
        )
        drawn.append(polyline(points, said, **style) + dots)
    alt = f"{words} against load: {trace}, batch {batch}"
    return picture(WIDE, HIGH, alt, axes(x, y, "load", f"{words} (s)", x_at=loads), *drawn)


def apart(values: Sequence[float], scale: Scale, pixels: float = 24.0) -> list[float]:
    """Those of rising `values` whose labels do not touch."""
    kept: list[float] = []
    for value in values:
        if kept and scale(value) - scale(kept[-1]) < pixels:
            continue
        kept.append(value)
    return kept


PLANE_WIDE, PLANE_HIGH = 520.0, 380.0


@dataclass(frozen=True, slots=True)
class Spot:
    """A policy on the plane."""

    policy: str
    mean: float
    late: float


def front(spots: Sequence[Spot]) -> list[Spot]:
    """Those that no other beats in both, by rising P99; the oracle apart, for nobody can have it."""
    best: list[Spot] = []
    for spot in sorted((one for one in spots if one.policy != ORACLE), key=lambda one: (one.late, one.mean)):
        if not best or spot.mean < best[-1].mean:
            best.append(spot)
    return best


def plane(spots: Sequence[Spot], words: str) -> str:
    """Mean over P99, both as ratios to fcfs, and the front of those that nobody beats in both."""
    x = fitted([*(spot.late for spot in spots), 1.0], LEFT, PLANE_WIDE - 74, log=True)
    y = fitted([*(spot.mean for spot in spots), 1.0], PLANE_HIGH - BOTTOM, TOP + 14, log=True)
    best = front(spots)
    corners: list[tuple[float, float]] = []
    for spot in best:
        if corners:
            corners.append((x(spot.late), corners[-1][1]))
        corners.append((x(spot.late), y(spot.mean)))
    parts = [
        axes(x, y, "P99 / fcfs", "mean / fcfs"),
        line(x(1.0), y.start, x(1.0), y.stop, class_="one"),
        line(x.start, y(1.0), x.stop, y(1.0), class_="one"),
        polyline(corners, class_="front") if len(corners) > 1 else "",
    ]
    placed: list[tuple[float, float]] = []
    for spot in sorted(spots, key=lambda one: (y(one.mean), x(one.late))):
        at_x, at_y = x(spot.late), y(spot.mean)
        said = title(f"{spot.policy}: mean {spot.mean:.2f}, P99 {spot.late:.2f} of fcfs")
        colour = f"var(--{look(spot.policy).colour})"
        fill = f"fill:none;stroke:{colour};stroke-width:2" if spot.policy == ORACLE else f"fill:{colour}"
        parts.append(tag("circle", said, cx=at_x, cy=at_y, r=5.5 if spot in best else 4.0, style=fill))
        label = at_y - 5
        while any(abs(label - other_y) < 12 and abs(at_x - other_x) < 84 for other_x, other_y in placed):
            label += 4
        placed.append((at_x, label))
        parts.append(text(at_x + 8, label, spot.policy, **({"class_": "name"} if spot in best else {})))
    return picture(PLANE_WIDE, PLANE_HIGH, words, *parts)
