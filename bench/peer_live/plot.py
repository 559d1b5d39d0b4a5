"""Live comparisons as one picture: a measure against load, a line a system, a mark a repeat."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from ..charts.lines import Axes, Line, line_chart, stroke_of
from ..charts.marks import fitted, text
from ..charts.sheet import key, side_by_side
from .figures import MEASURES, Standings

WIDE, HIGH, LEFT, RIGHT, TOP, BOTTOM = 320.0, 250.0, 44.0, 14.0, 44.0, 40.0
COLOURS = ("blue", "ink", "orange", "aqua", "violet")


def picture_of(all_standings: Sequence[Standings], words: str) -> str:
    """An SVG file, a row a scenario; `words` say on what it was measured."""
    shown = [standings for standings in all_standings if standings.visits and standings.scenario.loads]
    names = dict.fromkeys(name for standings in shown for name in standings.systems)
    colours = {name: COLOURS[at % len(COLOURS)] for at, name in enumerate(names)}
    rows = [[_chart(standings, label, field, colours) for label, field, _ in MEASURES] for standings in shown]
    lines = key({name: stroke_of(colour) for name, colour in colours.items()})
    return side_by_side("Latency against load, servers side by side", rows, WIDE, HIGH, lines, text(0, 0, words))


def _chart(standings: Standings, label: str, field: str, colours: dict[str, str]) -> str:
    loads = list(standings.scenario.loads)
    lines = []
    for name in standings.systems:
        points, dots = [], []
        for cell in standings.scenario.cells:
            if cell.load is not None and (values := standings.values(name, cell.name, field)):
                points.append((cell.load, median(values.values())))
                dots += [(cell.load, value) for value in values.values()]
        said = f"{name}: {', '.join(f'{value:.3g} s at {load:g}' for load, value in points)}"
        lines.append(Line(points, said, stroke_of(colours[name]), dots, f"fill:var(--{colours[name]})"))
    x = fitted([min(loads) * 0.9, max(loads) * 1.1], LEFT, WIDE - RIGHT)
    y = fitted([value for one in lines for _, value in one.dots], HIGH - BOTTOM, TOP, log=True)
    axes = Axes(x, y, f"load over the saturation of {standings.peer}", "seconds", x_at=loads)
    head = text(LEFT, 16, f"{standings.scenario.title}: {label}", class_="name")
    return head + line_chart(axes, lines)
