"""Charts of bars that lie, in groups, side by side: rates with a mark for each repeat, or shares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .sheet import COLOURS, Sheet, sheet

ROW, MARGIN = 15.0, 110.0
GAP = 0.6
"""Between two groups, in bars."""


@dataclass(frozen=True, slots=True)
class Bar:
    """`said`: what a browser shows where one points at it."""

    label: str
    value: float
    colour: str
    said: str
    #: Of single repeats.
    marks: Sequence[float] = ()
    target: float | None = None


Groups = Sequence[Sequence[Bar]]


@dataclass(frozen=True, slots=True)
class BarChart:
    """Bars from above. One that is longer than `longest` ends at the edge, its share beside it."""

    groups: Groups
    title: str
    x_words: str
    #: Shares of 1: in per cent, with a stroke at 100 %.
    longest: float | None = None
    #: Which colour is what.
    keys: Mapping[str, str] | None = None

    def draw(self, on: Sheet, axes: Any) -> None:
        """Draw into the axes of a sheet."""
        y, labels = 0.0, dict[float, str]()
        for group in self.groups:
            for bar in group:
                colour = COLOURS[bar.colour]
                (drawn,) = axes.barh(y, bar.value, color=colour, height=0.8, alpha=0.4 if bar.marks else 1.0)
                on.say(drawn, bar.said)
                if bar.marks:
                    axes.scatter(bar.marks, [y] * len(bar.marks), color=colour, s=10, zorder=3)
                if bar.target is not None:
                    axes.vlines(bar.target, y - 0.5, y + 0.5, color=COLOURS["ink"])
                if self.longest is not None:
                    axes.text(min(bar.value, self.longest), y, f" {bar.value:.0%}", va="center", fontsize="small")
                labels[y] = bar.label
                y += 1.0
            y += GAP
        axes.set(title=self.title, xlabel=self.x_words, xlim=(0, self.longest))
        axes.set_yticks(list(labels), list(labels.values()))
        axes.set_ylim(max(y - GAP, 1.0) - 0.5, -0.5)
        axes.grid(visible=False, axis="y")
        if self.longest is not None:
            axes.xaxis.set_major_formatter("{x:.0%}")
            axes.axvline(1.0, color=COLOURS["faint"], linestyle="dashed", linewidth=0.8)
        for name, key in (self.keys or {}).items():
            axes.scatter([], [], color=COLOURS[key], marker="s", label=name)
        if self.keys:
            axes.legend(fontsize="small", loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=len(self.keys))


def bar_sheet(words: str, charts: Sequence[BarChart], wide: float, below: str = "") -> str:
    """Charts beside each other as SVG, with a sentence `below` them."""
    rows = max(sum(len(group) + GAP for group in chart.groups) for chart in charts)
    with sheet(words, wide, MARGIN + ROW * rows, 1, len(charts)) as drawn:
        for at, chart in enumerate(charts):
            chart.draw(drawn, drawn.axes[0][at])
        drawn.figure.supxlabel(below, fontsize="small", x=0.01, ha="left")
    return drawn.svg
