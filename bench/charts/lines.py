"""A chart of lines: axes, the lines, dots upon them.

Owns what is drawn where inside a chart. It knows no measurement; rooms bring `Line`s.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from .marks import Point, Scale, line, polyline, short, tag, text, title

COLOURS = ("blue", "orange", "aqua", "violet", "magenta", "brown")
"""Of the style sheet, for what has no colour of its own."""


def stroke_of(colour: str, dash: str = "", width: float = 2.0) -> dict[str, object]:
    """Attributes of a line in a colour of the style sheet."""
    more: dict[str, object] = {"stroke_dasharray": dash} if dash else {}
    return {"style": f"stroke:var(--{colour})", "stroke_width": width, "fill": "none", **more}


@dataclass(frozen=True, slots=True)
class Line:
    """A line in the units of the axes.

    `said`: what a browser shows where one points at it. `stroke`: attributes. `dots`: marks of
    their own, in the style `fill`.
    """

    points: Sequence[Point]
    said: str
    stroke: dict[str, object]
    dots: Sequence[Point] = ()
    fill: str = ""

    def drawn(self, x: Scale, y: Scale) -> str:
        """The line, its dots on top."""
        said = title(self.said)
        dots = (tag("circle", said, cx=x(at), cy=y(value), r=2.5, style=self.fill) for at, value in self.dots)
        places = thinned((x(at), y(value)) for at, value in self.points)
        return polyline(places, said, **self.stroke) + "".join(dots)


@dataclass(frozen=True, slots=True)
class Axes:
    """Two scales and their names; `x_at`: the ticks of the x axis, where they are not to be round."""

    x: Scale
    y: Scale
    x_words: str
    y_words: str
    x_at: Sequence[float] | None = field(default=None)

    def drawn(self) -> str:
        """Grid, ticks and names."""
        x, y, parts = self.x, self.y, []
        for value in y.ticks():
            at = y(value)
            parts.append(line(x.start, at, x.stop, at, class_="grid"))
            parts.append(text(x.start - 6, at + 3.5, short(value), text_anchor="end"))
        for value in apart(x.ticks() if self.x_at is None else self.x_at, x):
            at = x(value)
            parts.append(line(at, y.start, at, y.start + 4, class_="axis"))
            parts.append(text(at, y.start + 16, short(value), text_anchor="middle"))
        parts.append(line(x.start, y.start, x.stop, y.start, class_="axis"))
        parts.append(text((x.start + x.stop) / 2, y.start + 30, self.x_words, text_anchor="middle"))
        # The name of the y axis stands above it: turned letters are hard to read.
        parts.append(text(x.start, y.stop - 6, self.y_words))
        return "".join(parts)


def line_chart(axes: Axes, lines: Iterable[Line]) -> str:
    """Axes and lines, the first line undermost."""
    return axes.drawn() + "".join(one.drawn(axes.x, axes.y) for one in lines)


def thinned(points: Iterable[Point], pixels: float = 1.5) -> list[Point]:
    """The points without those that cannot be told from the one before; the last one stays."""
    kept: list[Point] = []
    last = None
    for last in points:
        if not kept or abs(last[0] - kept[-1][0]) + abs(last[1] - kept[-1][1]) >= pixels:
            kept.append(last)
    return kept if last is None or kept[-1] == last else [*kept, last]


def apart(values: Sequence[float], scale: Scale, pixels: float = 24.0) -> list[float]:
    """Those of rising `values` whose labels do not touch."""
    kept: list[float] = []
    for value in values:
        if not kept or scale(value) - scale(kept[-1]) >= pixels:
            kept.append(value)
    return kept
