"""An offline comparison as one picture that needs nothing else: a row a system, a mark a repeat, a column a batch.

Owns colours and places. It computes nothing; the command writes what `picture_of` gives.
"""

from __future__ import annotations

from statistics import median

from ..report.charts import axes
from ..report.style import CSS
from ..report.svg import Scale, line, picture, tag, text, title
from .figures import Study

WIDE, ROW, TOP, BOTTOM, LEFT, RIGHT = 330.0, 26.0, 46.0, 40.0, 110.0, 14.0
COLOURS = ("blue", "orange", "aqua", "violet", "magenta", "brown")
ROOF = "linear layers"


def picture_of(study: Study, words: str) -> str:
    """An SVG file; `words` say on what it was measured."""
    batches = study.scenario.batches
    high = TOP + (len(study.systems) + 1) * ROW + BOTTOM
    charts = [
        tag("g", _chart(study, batch, high), transform=f"translate({at * WIDE:g} 0)")
        for at, batch in enumerate(batches)
    ]
    back = tag("rect", x=0, y=0, width=WIDE * len(batches), height=high + 20, style="fill:var(--card)")
    note = text(10, high + 10, words)
    return picture(
        WIDE * len(batches), high + 20, "Output tokens a second by batch", tag("style", CSS), back, *charts, note
    )


def _chart(study: Study, batch: int, high: float) -> str:
    rows: list[tuple[str, list[float]]] = [
        (name, list(study.rates(name, batch).values())) for name in study.systems if study.rates(name, batch)
    ]
    if roofs := study.roof(batch):
        rows.append((ROOF, [roof.rate for roof in roofs]))
    most = max(rate for _, rates in rows for rate in rates)
    x = Scale(0.0, most * 1.05, LEFT, WIDE - RIGHT)
    y = Scale(0.0, 1.0, high - BOTTOM, TOP)
    parts = [
        text(LEFT, 18, f"batch {batch}", class_="name"),
        axes(x, Scale(0.0, 1e-9, y.start, y.stop), "tokens a second", ""),
    ]
    for at, (name, rates) in enumerate(rows):
        middle = TOP + (at + 0.5) * ROW
        colour = "ink" if name == ROOF else COLOURS[at % len(COLOURS)]
        said = title(f"{name}: {', '.join(f'{rate:,.0f}' for rate in rates)}")
        parts.append(text(LEFT - 8, middle + 3.5, name, text_anchor="end"))
        style = f"stroke:var(--{colour})"
        parts.append(line(x.start, middle, x(median(rates)), middle, style=style, stroke_width=8.0, opacity=0.35))
        for rate in rates:
            parts.append(tag("circle", said, cx=x(rate), cy=middle, r=3.2, style=f"fill:var(--{colour})"))
    return "".join(parts)
