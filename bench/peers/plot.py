"""Comparisons as pictures: one row or line per system, one mark per repeat."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from ..charts.lines import COLOURS, Axes, Line, line_chart, stroke_of
from ..charts.marks import Scale, fitted, line, tag, text, title
from ..charts.sheet import key, side_by_side
from .engine_study import EngineStudy
from .live_study import MEASURES, LiveStudy
from .scenario import LINEAR

WIDE, HIGH, LEFT, RIGHT, TOP, BOTTOM = 330.0, 250.0, 44.0, 14.0, 44.0, 40.0
ROW, NAMES = 26.0, 110.0
OF_SERVERS = ("blue", "ink", "orange", "aqua", "violet")


def engine_picture(study: EngineStudy, words: str) -> str:
    """An SVG file; `words` say on what it was measured."""
    high = TOP + (len(study.systems) + 1) * ROW + BOTTOM
    charts = [_rates(study, batch, high) for batch in study.scenario.batches]
    return side_by_side("Output tokens a second by batch", [charts], WIDE, high, text(0, 0, words))


def _rates(study: EngineStudy, batch: int, high: float) -> str:
    known = {name: list(study.rates(name, batch).values()) for name in study.systems}
    rows = [(name, rates) for name, rates in known.items() if rates]
    if roofs := study.roof(batch):
        rows.append((LINEAR, [roof.rate for roof in roofs]))
    x = Scale(0.0, max(rate for _, rates in rows for rate in rates) * 1.05, NAMES, WIDE - RIGHT)
    no_values = Scale(0.0, 1e-9, high - BOTTOM, TOP)
    parts = [text(NAMES, 18, f"batch {batch}", class_="name"), Axes(x, no_values, "tokens a second", "").drawn()]
    for at, (name, rates) in enumerate(rows):
        y = TOP + (at + 0.5) * ROW
        colour = f"var(--{'ink' if name == LINEAR else COLOURS[at % len(COLOURS)]})"
        said = title(f"{name}: {', '.join(f'{rate:,.0f}' for rate in rates)}")
        bar: dict[str, object] = {"style": f"stroke:{colour}", "stroke_width": 8.0, "opacity": 0.35}
        parts += [text(NAMES - 8, y + 3.5, name, text_anchor="end"), line(x.start, y, x(median(rates)), y, **bar)]
        parts += [tag("circle", said, cx=x(rate), cy=y, r=3.2, style=f"fill:{colour}") for rate in rates]
    return "".join(parts)


def live_picture(studies: Sequence[LiveStudy], words: str) -> str:
    """An SVG file, a row a scenario; `words` say on what it was measured."""
    shown = [study for study in studies if study.visits and study.scenario.loads]
    names = dict.fromkeys(name for study in shown for name in study.systems)
    colours = {name: OF_SERVERS[at % len(OF_SERVERS)] for at, name in enumerate(names)}
    rows = [[_latencies(study, label, field, colours) for label, field, _ in MEASURES] for study in shown]
    lines = key({name: stroke_of(colour) for name, colour in colours.items()})
    return side_by_side("Latency against load, servers side by side", rows, WIDE, HIGH, lines, text(0, 0, words))


def _latencies(study: LiveStudy, label: str, field: str, colours: dict[str, str]) -> str:
    loads = list(study.scenario.loads)
    lines = []
    for name in study.systems:
        points, dots = [], []
        for cell in study.scenario.cells:
            if cell.load is not None and (values := study.values(name, cell.name, field)):
                points.append((cell.load, median(values.values())))
                dots += [(cell.load, value) for value in values.values()]
        said = f"{name}: {', '.join(f'{value:.3g} s at {load:g}' for load, value in points)}"
        lines.append(Line(points, said, stroke_of(colours[name]), dots, f"fill:var(--{colours[name]})"))
    x = fitted([min(loads) * 0.9, max(loads) * 1.1], LEFT, WIDE - RIGHT)
    y = fitted([value for one in lines for _, value in one.dots], HIGH - BOTTOM, TOP, log=True)
    axes = Axes(x, y, f"load over the saturation of {study.peer}", "seconds", x_at=loads)
    head = text(LEFT, 16, f"{study.scenario.title}: {label}", class_="name")
    return head + line_chart(axes, lines)
