"""Shares as bars in groups, one picture that stands alone.

Owns places. A bar longer than the picture ends at its edge, and its figure says by how much.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ..table import percent
from .marks import Scale, line, tag, text, title
from .sheet import sheet

RIGHT, TOP, BAR, GAP = 70.0, 62.0, 13.0, 8.0
LETTER = 7.0


@dataclass(frozen=True, slots=True)
class ShareBar:
    """`label` stands left of it; `said` is shown where one points at it; `target` is a stroke
    across.
    """

    label: str
    share: float
    colour: str
    said: str
    target: float | None = None


@dataclass(frozen=True, slots=True)
class BarPicture:
    """`heads`: lines above the bars. `colours`: by word. `longest`: the most that is drawn."""

    words: str
    heads: tuple[str, str]
    colours: Mapping[str, str]
    longest: float
    left: float = 380.0
    wide: float = 860.0

    def drawn(self, groups: Sequence[Sequence[ShareBar]]) -> str:
        """An SVG file."""
        x = Scale(0.0, self.longest, self.left, self.wide - RIGHT)
        bottom = TOP + sum(len(group) * BAR + GAP for group in groups)
        parts = [
            text(12, 22, self.heads[0], class_="name"),
            text(12, 38, self.heads[1]),
            *self._key(),
            *_ticks(x, bottom),
        ]
        y = TOP
        for group in groups:
            for bar in group:
                parts += _drawn(bar, x, y)
                y += BAR
            y += GAP
        return sheet(self.words, self.wide, bottom + 24, *parts)

    def _key(self) -> Iterable[str]:
        left = 12.0
        for word, colour in self.colours.items():
            yield tag("rect", x=left, y=TOP - 17, width=10.0, height=9.0, style=f"fill:var(--{colour})")
            yield text(left + 15, TOP - 9, word)
            left += 30 + LETTER * len(word)


def _ticks(x: Scale, bottom: float) -> Iterable[str]:
    for quarter in range(int(x.high * 4) + 1):
        at = x(quarter / 4)
        yield line(at, TOP, at, bottom, class_="one" if quarter == 4 else "grid")
        yield text(at, bottom + 14, f"{quarter / 4:.0%}", text_anchor="middle")


def _drawn(bar: ShareBar, x: Scale, y: float) -> Iterable[str]:
    end = x(bar.share)
    yield text(x.start - 8, y + BAR - 3, bar.label, text_anchor="end")
    style = f"fill:var(--{bar.colour})"
    width = max(end - x.start, 0.5)
    yield tag("rect", title(bar.said), x=x.start, y=y, width=width, height=BAR - 2, style=style)
    if bar.target is not None:
        yield line(x(bar.target), y - 1, x(bar.target), y + BAR - 1, style="stroke:var(--ink)", stroke_width=2.0)
    yield text(end + 4, y + BAR - 3, percent(bar.share))
