"""Charts of lines, with dots upon them, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .looks import Look
from .sheet import COLOURS, Sheet, matplotlib, sheet

Point = tuple[float, float]
NARROW = 8.0
"""Ticks of an axis by factor are evenly spaced where its ends are less than that apart."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line in the units of its chart, and what a browser says of it."""

    name: str
    points: Sequence[Point]
    look: Look
    said: str = ""
    #: Marks of their own.
    dots: Sequence[Point] = ()


@dataclass(frozen=True, slots=True)
class LineChart:
    """Lines in one pair of axes, the first undermost."""

    lines: Sequence[Line]
    x_words: str
    y_words: str
    title: str = ""
    #: An axis by factor: "x", "y", "xy".
    log: str = ""
    #: The ticks of the x axis, where they are not to be round.
    x_at: Sequence[float] | None = None
    y_span: tuple[float, float] | None = None
    #: A value of y that is marked.
    level: float | None = None
    legend: bool = False

    def draw(self, on: Sheet, axes: Any) -> None:
        """Draw into the axes of a sheet."""
        for line in self.lines:
            (drawn,) = axes.plot(*zip(*line.points, strict=True), label=line.name, **line.look.stroke())
            on.say(drawn, line.said or line.name)
            if line.dots:
                dot = {"color": COLOURS[line.look.colour], "alpha": line.look.strength, "zorder": 3}
                on.say(axes.scatter(*zip(*line.dots, strict=True), s=9, **dot), line.said or line.name)
        axes.set(xlabel=self.x_words, ylabel=self.y_words, title=self.title, ylim=self.y_span)
        scale_axes(axes, self.log)
        if self.x_at is not None:
            axes.set_xticks(self.x_at, [f"{at:g}" for at in self.x_at], minor=False)
        if self.level is not None:
            axes.axhline(self.level, color=COLOURS["faint"], linestyle="dashed", linewidth=0.8)
        if self.legend:
            axes.legend(fontsize="small")


def scale_axes(axes: Any, log: str) -> None:
    """The named axes by factor, of what is drawn already, with some plain numbers as ticks."""
    ticker = matplotlib().ticker
    for name in log:
        axis = axes.xaxis if name == "x" else axes.yaxis
        (axes.set_xscale if name == "x" else axes.set_yscale)("log")
        low, high = axis.get_view_interval()
        narrow = high < NARROW * low
        axis.set_major_locator(ticker.MaxNLocator(4) if narrow else ticker.LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter("{x:g}")
        axis.set_minor_locator(ticker.NullLocator())


def line_sheet(words: str, rows: Sequence[Sequence[LineChart]], wide: float, high: float, below: str = "") -> str:
    """Rows of charts as SVG, with a sentence `below` them."""
    with sheet(words, wide, high, max(1, len(rows)), max((len(row) for row in rows), default=1)) as drawn:
        for at, row in enumerate(rows):
            for column, chart in enumerate(row):
                chart.draw(drawn, drawn.axes[at][column])
        drawn.figure.supxlabel(below, fontsize="small", x=0.01, ha="left")
    return drawn.svg
