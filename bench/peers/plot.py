"""Comparisons as pictures: one bar or line per system, one mark per repeat."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from ..charts.bars import Bar, BarChart, bar_sheet
from ..charts.lines import Line, LineChart, line_sheet
from ..charts.looks import Look
from .engine_study import EngineStudy
from .live_study import MEASURES, LiveStudy
from .scenario import LINEAR

COLOURS = ("blue", "orange", "aqua", "violet", "magenta", "brown")


def engine_picture(study: EngineStudy, words: str) -> str:
    """An SVG file; `words` say on what it was measured."""
    charts = [_rates(study, batch) for batch in study.scenario.batches]
    return bar_sheet("Output tokens a second by batch", charts, 330.0, words)


def _rates(study: EngineStudy, batch: int) -> BarChart:
    known = {name: list(study.rates(name, batch).values()) for name in study.systems}
    known[LINEAR] = [roof.rate for roof in study.roof(batch)]
    bars = [
        Bar(
            name,
            median(rates),
            "ink" if name == LINEAR else COLOURS[at % len(COLOURS)],
            f"{name}: {', '.join(f'{rate:,.0f}' for rate in rates)}",
            rates,
        )
        for at, (name, rates) in enumerate(known.items())
        if rates
    ]
    return BarChart([bars], f"batch {batch}", "tokens a second")


def live_picture(studies: Sequence[LiveStudy], words: str) -> str:
    """An SVG file, a row a scenario; `words` say on what it was measured."""
    shown = [study for study in studies if study.visits and study.scenario.loads]
    names = list(dict.fromkeys(name for study in shown for name in study.systems))
    looks = {name: Look(COLOURS[at % len(COLOURS)]) for at, name in enumerate(names)}
    rows = [[_latencies(study, label, field, looks) for label, field, _ in MEASURES] for study in shown]
    return line_sheet("Latency against load, servers side by side", rows, 330.0, 250.0, words)


def _latencies(study: LiveStudy, label: str, field: str, looks: dict[str, Look]) -> LineChart:
    lines = []
    for name in study.systems:
        values = {
            cell.load: found
            for cell in study.scenario.cells
            if cell.load is not None and (found := study.values(name, cell.name, field))
        }
        points = [(load, median(found.values())) for load, found in values.items()]
        dots = [(load, value) for load, found in values.items() for value in found.values()]
        said = f"{name}: {', '.join(f'{value:.3g} s at {load:g}' for load, value in points)}"
        lines += [Line(name, points, looks[name], said, dots)] if points else []
    x_words, title = f"load over the saturation of {study.peer}", f"{study.scenario.title}: {label}"
    return LineChart(lines, x_words, "seconds", title, "y", list(study.scenario.loads), legend=True)
