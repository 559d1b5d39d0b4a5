"""A picture that stands alone: charts side by side in one SVG file, with its style and its keys.

It knows no chart and no measurement.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .looks import CSS
from .marks import line, picture, tag, text

ROW = 16.0


def sheet(words: str, wide: float, high: float, *inside: str) -> str:
    """An SVG file on a card of the page's colours; `words` say what it shows."""
    back = tag("rect", x=0, y=0, width=wide, height=high, style="fill:var(--card)")
    return picture(wide, high, words, tag("style", CSS), back, *inside)


def side_by_side(words: str, rows: Sequence[Sequence[str]], wide: float, high: float, *below: str) -> str:
    """Rows of charts, each `wide` and `high`, then the lines of `below`, which are marks already."""
    charts = (
        tag("g", chart, transform=f"translate({across * wide:g} {down * high:g})")
        for down, row in enumerate(rows)
        for across, chart in enumerate(row)
    )
    top = high * len(rows)
    under = (tag("g", one, transform=f"translate(10 {top + (at + 0.6) * ROW:g})") for at, one in enumerate(below))
    most = max((len(row) for row in rows), default=1)
    return sheet(words, wide * most, top + ROW * len(below), *charts, *under)


def key(strokes: Mapping[str, dict[str, object]], apart: float = 130.0, across: int = 99) -> str:
    """Which line is which, `across` names beside each other."""
    parts = []
    for at, (name, stroke) in enumerate(strokes.items()):
        x, y = at % across * apart, at // across * ROW
        parts += [line(x, y - 4, x + 26, y - 4, **stroke), text(x + 32, y, name)]
    return "".join(parts)
