"""The study as a picture that needs nothing else: a bar a line, as long as its share, with its target as a stroke.

Owns places and colours. It computes nothing; the command writes what `picture_of` gives.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from ..kernels.machine import DeviceFacts
from ..report.style import CSS
from ..report.svg import Scale, line, picture, tag, text, title
from .figures import COPY_SHARE, IDLE, ROOFLINE, SLOWER, Row

WIDE, LEFT, RIGHT, TOP, BAR, GAP = 860.0, 380.0, 70.0, 62.0, 14.0, 8.0
COLOURS = {ROOFLINE: "blue", COPY_SHARE: "aqua", SLOWER: "orange", IDLE: "violet"}
LEGEND = {ROOFLINE: "of the roofline", COPY_SHARE: "of a copy", SLOWER: "slower by moves", IDLE: "of the time idle"}
LONGEST = 1.25
"""What is longer ends at the edge, and its figure says by how much."""


def picture_of(rows: Sequence[Row], facts: DeviceFacts, name: str) -> str:
    """An SVG file."""
    shown = [row for row in rows if row.share is not None]
    cases = [list(mine) for _, mine in groupby(shown, key=lambda row: row.case)]
    bottom = TOP + sum(len(mine) * BAR + GAP for mine in cases)
    x = Scale(0.0, LONGEST, LEFT, WIDE - RIGHT)
    parts = [
        tag("style", CSS),
        tag("rect", x=0, y=0, width=WIDE, height=bottom + 24, style="fill:var(--card)"),
        text(12, 22, f"Whole iterations of {name}, {facts.dtype}", class_="name"),
        text(12, 38, f"{facts.device}, {facts.threads} CPU threads, torch {facts.torch}"),
    ]
    for at, of in enumerate(dict.fromkeys(row.of for row in shown if row.of is not None)):
        parts.append(tag("rect", x=12 + at * 134.0, y=TOP - 17, width=10.0, height=9.0, style=_fill(of)))
        parts.append(text(27 + at * 134.0, TOP - 9, LEGEND[of]))
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0, 1.25):
        parts.append(line(x(tick), TOP, x(tick), bottom, class_="one" if tick == 1.0 else "grid"))
        parts.append(text(x(tick), bottom + 14, f"{tick:.0%}", text_anchor="middle"))
    y = TOP
    for mine in cases:
        for row in mine:
            parts.append(_bar(row, x, y))
            y += BAR
        y += GAP
    return picture(WIDE, bottom + 24, "Shares of rooflines and copies, and of time, by iteration", *parts)


def _bar(row: Row, x: Scale, y: float) -> str:
    assert row.share is not None and row.of is not None, "only rows with a share are drawn"
    share = row.share.median
    said = title(f"{row.case}, {row.what}: {row.value.median:.3g} {row.unit}, {share:.1%} {LEGEND[row.of]}")
    parts = [
        text(LEFT - 8, y + BAR - 3, f"{row.case}: {row.what}", text_anchor="end"),
        tag("rect", said, x=x.start, y=y, width=max(x(share) - x.start, 0.5), height=BAR - 2, style=_fill(row.of)),
        text(x(share) + 4, y + BAR - 3, f"{share:.1%}" if abs(share) < 0.1 else f"{share:.0%}"),
    ]
    if row.target is not None:
        parts.append(
            line(x(row.target), y - 1, x(row.target), y + BAR - 1, style="stroke:var(--ink)", stroke_width=2.0)
        )
    return "".join(parts)


def _fill(of: str) -> str:
    return f"fill:var(--{COLOURS[of]})"
