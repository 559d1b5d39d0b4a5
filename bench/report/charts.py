"""The charts of a matrix: JCT distributions, a measure against load, the plane of mean and P99.

Owns what is drawn where inside a chart. It knows results and looks, no HTML around them; `page` puts the charts in order.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..matrix.summary import Cell, Results, knows_lengths
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
        fill = f"fill:var(--{look(one.policy).colour})"
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


PLANE_WIDE, PLANE_HIGH = 520.0, 380.0


@dataclass(frozen=True, slots=True)
class Spot:
    """A policy on the plane."""

    policy: str
    mean: float
    late: float


def front(spots: Sequence[Spot]) -> list[Spot]:
    """Those that no other beats in both, by rising P99; those that know lengths apart, for nobody can have them."""
    best: list[Spot] = []
    for spot in sorted((one for one in spots if not knows_lengths(one.policy)), key=lambda one: (one.late, one.mean)):
        if not best or spot.mean < best[-1].mean:
            best.append(spot)
    return best


Box = tuple[float, float, float, float]
LETTER, LABEL_HIGH = 6.4, 12.0


def label_box(x: float, y: float, wide: float, taken: Sequence[Box]) -> Box:
    """Left, top, right, bottom of a label near (x, y) that covers nothing of `taken`: to the right if it can be, else ever further off."""
    shifts = (-13.0 + way * away for away in range(0, 120, 5) for way in (-1, 1))
    places = [(left, y + shift) for shift in shifts for left in (x + 7, x - 7 - wide)]
    boxes = [(left, top, left + wide, top + LABEL_HIGH) for left, top in places]
    return next((box for box in boxes if not any(_meet(box, other) for other in taken)), boxes[0])


def _meet(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


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
    taken = [(x(spot.late) - 5, y(spot.mean) - 5, x(spot.late) + 5, y(spot.mean) + 5) for spot in spots]
    for spot in sorted(spots, key=lambda one: (y(one.mean), x(one.late))):
        at_x, at_y = x(spot.late), y(spot.mean)
        said = title(f"{spot.policy}: mean {spot.mean:.2f}, P99 {spot.late:.2f} of fcfs")
        colour = f"var(--{look(spot.policy).colour})"
        fill = f"fill:none;stroke:{colour};stroke-width:2" if knows_lengths(spot.policy) else f"fill:{colour}"
        parts.append(tag("circle", said, cx=at_x, cy=at_y, r=5.5 if spot in best else 4.0, style=fill))
        box = label_box(at_x, at_y, LETTER * len(spot.policy), taken)
        taken.append(box)
        parts.append(text(box[0], box[3] - 3, spot.policy, **({"class_": "name"} if spot in best else {})))
    return picture(PLANE_WIDE, PLANE_HIGH, words, *parts)
