"""Live comparisons as one picture that needs nothing else: a measure against load, a line a system, a mark a repeat.

Owns colours and places. It computes nothing; the command writes what `picture_of` gives.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from ..report.charts import axes
from ..report.style import CSS
from ..report.svg import fitted, line, picture, polyline, tag, text, title
from .figures import MEASURES, Standings

WIDE, HIGH, LEFT, RIGHT, TOP, BOTTOM, KEY = 320.0, 250.0, 44.0, 14.0, 44.0, 40.0, 24.0
COLOURS = ("blue", "ink", "orange", "aqua", "violet")


def picture_of(all_standings: Sequence[Standings], words: str) -> str:
    """An SVG file, a row a scenario; `words` say on what it was measured."""
    rows = [standings for standings in all_standings if standings.visits and standings.scenario.loads]
    names = list(dict.fromkeys(name for standings in rows for name in standings.systems))
    parts = []
    for down, standings in enumerate(rows):
        for across, (label, field, _) in enumerate(MEASURES):
            place = f"translate({across * WIDE:g} {down * HIGH:g})"
            parts.append(tag("g", _chart(standings, label, field, names), transform=place))
    wide, high = WIDE * len(MEASURES), HIGH * len(rows) + 2 * KEY
    for at, name in enumerate(names):
        x, y = LEFT + at * 130.0, high - KEY - 6
        parts.append(line(x, y - 4, x + 26, y - 4, style=f"stroke:var(--{_colour(names, name)})", stroke_width=2.0))
        parts.append(text(x + 32, y, name))
    parts.append(text(10, high - 8, words))
    back = tag("rect", x=0, y=0, width=wide, height=high, style="fill:var(--card)")
    return picture(wide, high, "Latency against load, servers side by side", tag("style", CSS), back, *parts)


def _colour(names: Sequence[str], name: str) -> str:
    return COLOURS[names.index(name) % len(COLOURS)]


def _chart(standings: Standings, label: str, field: str, names: Sequence[str]) -> str:
    cells = [cell for cell in standings.scenario.cells if cell.load is not None]
    loads = [cell.load for cell in cells if cell.load is not None]
    known = {
        name: [
            (load, values)
            for cell in cells
            if (load := cell.load) and (values := standings.values(name, cell.name, field))
        ]
        for name in standings.systems
    }
    every = [value for points in known.values() for _, values in points for value in values.values()]
    x = fitted([min(loads) * 0.9, max(loads) * 1.1], LEFT, WIDE - RIGHT)
    y = fitted(every, HIGH - BOTTOM, TOP, log=True)
    parts = [
        text(LEFT, 16, f"{standings.scenario.title}: {label}", class_="name"),
        axes(x, y, f"load over the saturation of {standings.peer}", "seconds", x_at=loads),
    ]
    for name, points in known.items():
        colour = f"var(--{_colour(names, name)})"
        medians = [(load, median(values.values())) for load, values in points]
        said = title(f"{name}: {', '.join(f'{value:.3g} s at {load:g}' for load, value in medians)}")
        places = [(x(load), y(value)) for load, value in medians]
        parts.append(polyline(places, said, style=f"stroke:{colour}", stroke_width=2.0, fill="none"))
        for load, values in points:
            for value in values.values():
                parts.append(tag("circle", said, cx=x(load), cy=y(value), r=2.6, style=f"fill:{colour}"))
    return "".join(parts)
