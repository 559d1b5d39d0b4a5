"""The panels as one picture that needs nothing else: published lines dashed, ours solid.

Owns colours and places. It computes nothing; the command writes what `picture_of` gives.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..report.charts import axes
from ..report.style import CSS
from ..report.svg import Scale, line, picture, polyline, tag, text, title
from .curves import Point, crossing
from .panels import TOP_LEVELS
from .redraw import Redrawn

WIDE, HIGH, GAP = 420.0, 340.0, 20.0
LEFT, RIGHT, TOP, BOTTOM = 44.0, 12.0, 44.0, 120.0
COLOURS = ("ink", "red", "orange", "blue", "aqua")


def picture_of(panels: Sequence[Redrawn]) -> str:
    """An SVG file with a chart a panel, one beside the other."""
    wide = len(panels) * (WIDE + GAP) - GAP
    charts = [
        tag("g", _chart(drawn), transform=f"translate({at * (WIDE + GAP):g} 0)") for at, drawn in enumerate(panels)
    ]
    back = tag("rect", x=0, y=0, width=wide, height=HIGH, style="fill:var(--card)")
    return picture(
        wide, HIGH, "Latency against arrival rate, published and simulated", tag("style", CSS), back, *charts
    )


def _chart(drawn: Redrawn) -> str:
    level_s, top = drawn.setting.level_s, TOP_LEVELS * drawn.setting.level_s
    colours = {system.name: COLOURS[at % len(COLOURS)] for at, system in enumerate(drawn.panel.systems)}
    word = drawn.panel.sources[0][0]
    lines: list[tuple[str, str, str, Sequence[Point]]] = []
    for published in drawn.panel.stood_for:
        curve = drawn.published.get((word, published))
        first = next(system.name for system in drawn.panel.systems if system.published == published)
        if curve is not None:
            lines.append((f"{published}, {word}", colours[first], "5 3", curve.points))
    lines += [(f"{name}, simulated", colours[name], "", drawn.points(name)) for name in drawn.ours]
    x = Scale(0.0, max(cut(points, top)[-1].rate for _, _, _, points in lines), LEFT, WIDE - RIGHT)
    y = Scale(0.0, top, HIGH - BOTTOM, TOP)
    parts = [
        text(LEFT, 18, drawn.panel.title, class_="name"),
        axes(x, y, "jobs a second", "mean latency per output token (s)"),
        line(x.start, y(level_s), x.stop, y(level_s), class_="one"),
    ]
    for at, (said, colour, dash, points) in enumerate(lines):
        stroke: dict[str, object] = {"style": f"stroke:var(--{colour})", "stroke_width": 2.0, "fill": "none"}
        if dash:
            stroke["stroke_dasharray"] = dash
        places = [(x(point.rate), y(point.latency_s)) for point in cut(points, top)]
        parts.append(polyline(places, title(said), **stroke))
        key_x, key_y = LEFT + (at % 2) * 190.0, HIGH - BOTTOM + 52 + (at // 2) * 16.0
        parts += [line(key_x, key_y - 4, key_x + 26, key_y - 4, **stroke), text(key_x + 32, key_y, said)]
    return "".join(parts)


def cut(points: Sequence[Point], top: float) -> list[Point]:
    """The points up to where the line leaves the picture."""
    leaves = crossing(points, top)
    if leaves is None:
        return list(points[:1])
    kept = [point for point in points if point.rate < leaves.rate or (leaves.beyond and point.rate == leaves.rate)]
    return kept if leaves.beyond else [*kept, Point(leaves.rate, top)]
