"""The panels as one picture: published lines dashed, ours solid."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..charts.lines import Line, LineChart, line_sheet
from ..charts.looks import DASHED, Look
from .curves import Point, crossing
from .panels import TOP_LIMITS
from .redraw import Redrawn

COLOURS = ("ink", "red", "orange", "blue", "aqua")


def picture_of(panels: Sequence[Redrawn]) -> str:
    """An SVG file with a chart a panel, one beside the other."""
    charts = [_chart(drawn) for drawn in panels]
    return line_sheet("Latency against arrival rate, published and simulated", [charts], 440.0, 340.0)


def _chart(drawn: Redrawn) -> LineChart:
    limit_s, top = drawn.setting.limit_s, TOP_LIMITS * drawn.setting.limit_s
    lines = [
        Line(name, [(one.rate, one.latency_s) for one in cut(points, top)], look)
        for name, look, points in _curves(drawn)
    ]
    words = "jobs a second", "mean latency per output token (s)"
    return LineChart(lines, *words, drawn.panel.title, y_span=(0.0, top), level=limit_s, legend=True)


def _curves(drawn: Redrawn) -> Iterator[tuple[str, Look, Sequence[Point]]]:
    colours = {system.name: COLOURS[at % len(COLOURS)] for at, system in enumerate(drawn.panel.systems)}
    word = drawn.panel.sources[0][0]
    for published in drawn.panel.stood_for:
        first = next(system.name for system in drawn.panel.systems if system.published == published)
        if (curve := drawn.published.get((word, published))) is not None:
            yield f"{published}, {word}", Look(colours[first], DASHED), curve.points
    for name in drawn.ours:
        yield f"{name}, simulated", Look(colours[name]), drawn.points(name)


def cut(points: Sequence[Point], top: float) -> list[Point]:
    """The points up to where the line leaves the picture."""
    leaves = crossing(points, top)
    if leaves is None:
        return list(points[:1])
    kept = [point for point in points if point.rate < leaves.rate or (leaves.beyond and point.rate == leaves.rate)]
    return kept if leaves.beyond else [*kept, Point(leaves.rate, top)]
