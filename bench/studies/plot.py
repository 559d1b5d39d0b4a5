"""The panels as one picture: published lines dashed, ours solid."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..charts.lines import Axes, Line, line_chart, stroke_of
from ..charts.marks import Scale, line, tag, text
from ..charts.sheet import key, side_by_side
from .curves import Point, crossing
from .panels import TOP_LIMITS
from .redraw import Redrawn

WIDE, HIGH, LEFT, RIGHT, TOP, BOTTOM = 440.0, 340.0, 44.0, 32.0, 44.0, 120.0
COLOURS = ("ink", "red", "orange", "blue", "aqua")


def picture_of(panels: Sequence[Redrawn]) -> str:
    """An SVG file with a chart a panel, one beside the other."""
    charts = [_chart(drawn) for drawn in panels]
    return side_by_side("Latency against arrival rate, published and simulated", [charts], WIDE, HIGH)


def _chart(drawn: Redrawn) -> str:
    limit_s, top = drawn.setting.limit_s, TOP_LIMITS * drawn.setting.limit_s
    lines = [
        Line([(one.rate, one.latency_s) for one in cut(points, top)], said, stroke)
        for said, stroke, points in _curves(drawn)
    ]
    x = Scale(0.0, max(one.points[-1][0] for one in lines), LEFT, WIDE - RIGHT)
    y = Scale(0.0, top, HIGH - BOTTOM, TOP)
    keys = key({one.said: one.stroke for one in lines}, apart=190.0, across=2)
    parts = [
        text(LEFT, 18, drawn.panel.title, class_="name"),
        line_chart(Axes(x, y, "jobs a second", "mean latency per output token (s)"), lines),
        line(x.start, y(limit_s), x.stop, y(limit_s), class_="one"),
        tag("g", keys, transform=f"translate({LEFT:g} {HIGH - BOTTOM + 52:g})"),
    ]
    return "".join(parts)


def _curves(drawn: Redrawn) -> Iterator[tuple[str, dict[str, object], Sequence[Point]]]:
    colours = {system.name: COLOURS[at % len(COLOURS)] for at, system in enumerate(drawn.panel.systems)}
    word = drawn.panel.sources[0][0]
    for published in drawn.panel.stood_for:
        first = next(system.name for system in drawn.panel.systems if system.published == published)
        if (curve := drawn.published.get((word, published))) is not None:
            yield f"{published}, {word}", stroke_of(colours[first], "5 3"), curve.points
    for name in drawn.ours:
        yield f"{name}, simulated", stroke_of(colours[name]), drawn.points(name)


def cut(points: Sequence[Point], top: float) -> list[Point]:
    """The points up to where the line leaves the picture."""
    leaves = crossing(points, top)
    if leaves is None:
        return list(points[:1])
    kept = [point for point in points if point.rate < leaves.rate or (leaves.beyond and point.rate == leaves.rate)]
    return kept if leaves.beyond else [*kept, Point(leaves.rate, top)]
