"""An offline comparison as one picture: a row a system, a mark a repeat, a column a batch."""

from __future__ import annotations

from statistics import median

from ..charts.lines import COLOURS, Axes
from ..charts.marks import Scale, line, tag, text, title
from ..charts.sheet import side_by_side
from .figures import Study

WIDE, ROW, TOP, BOTTOM, LEFT, RIGHT = 330.0, 26.0, 46.0, 40.0, 110.0, 14.0
ROOF = "linear layers"


def picture_of(study: Study, words: str) -> str:
    """An SVG file; `words` say on what it was measured."""
    high = TOP + (len(study.systems) + 1) * ROW + BOTTOM
    charts = [_chart(study, batch, high) for batch in study.scenario.batches]
    return side_by_side("Output tokens a second by batch", [charts], WIDE, high, text(0, 0, words))


def _chart(study: Study, batch: int, high: float) -> str:
    rows = [(name, list(known.values())) for name in study.systems if (known := study.rates(name, batch))]
    if roofs := study.roof(batch):
        rows.append((ROOF, [roof.rate for roof in roofs]))
    x = Scale(0.0, max(rate for _, rates in rows for rate in rates) * 1.05, LEFT, WIDE - RIGHT)
    no_values = Scale(0.0, 1e-9, high - BOTTOM, TOP)
    parts = [text(LEFT, 18, f"batch {batch}", class_="name"), Axes(x, no_values, "tokens a second", "").drawn()]
    for at, (name, rates) in enumerate(rows):
        y = TOP + (at + 0.5) * ROW
        colour = f"var(--{'ink' if name == ROOF else COLOURS[at % len(COLOURS)]})"
        said = title(f"{name}: {', '.join(f'{rate:,.0f}' for rate in rates)}")
        bar: dict[str, object] = {"style": f"stroke:{colour}", "stroke_width": 8.0, "opacity": 0.35}
        parts += [text(LEFT - 8, y + 3.5, name, text_anchor="end"), line(x.start, y, x(median(rates)), y, **bar)]
        parts += [tag("circle", said, cx=x(rate), cy=y, r=3.2, style=f"fill:{colour}") for rate in rates]
    return "".join(parts)
