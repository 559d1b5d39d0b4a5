"""The study as a picture that needs nothing else: a bar a contestant, as long as its share of the roofline.

Owns places and colours. It computes nothing; the command writes what `picture_of` gives.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from ..report.style import CSS
from ..report.svg import Scale, line, picture, tag, text, title
from .machine import DeviceFacts
from .study import KernelRow

WIDE, LEFT, RIGHT, TOP, BAR, GAP = 760.0, 210.0, 70.0, 62.0, 11.0, 9.0
COLOURS = {"skipjoin": "blue", "reference": "other", "sdpa": "orange", "flex": "aqua"}
LONGEST = 1.5
"""Times the roofline: what a cache makes faster still ends at the edge, and its figure says by how much."""


def picture_of(rows: Sequence[KernelRow], facts: DeviceFacts, name: str) -> str:
    """An SVG file."""
    measured = [row for row in rows if row.roofline is not None]
    cases = [(case, list(mine)) for case, mine in groupby(measured, key=lambda row: row.case)]
    high = TOP + sum(len(mine) * BAR + GAP for _, mine in cases) + 34
    x = Scale(0.0, LONGEST, LEFT, WIDE - RIGHT)
    parts = [
        tag("style", CSS),
        tag("rect", x=0, y=0, width=WIDE, height=high, style="fill:var(--card)"),
        text(12, 22, f"Kernels for {name}, {facts.dtype}", class_="name"),
        text(12, 38, f"{facts.device}, {facts.threads} CPU threads, torch {facts.torch}"),
        _legend(measured),
    ]
    bottom = high - 34
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5):
        parts.append(line(x(tick), TOP, x(tick), bottom, class_="one" if tick == 1.0 else "grid"))
        parts.append(text(x(tick), bottom + 14, f"{tick:.0%}", text_anchor="middle"))
    parts.append(text((x.start + x.stop) / 2, bottom + 28, "share of the roofline", text_anchor="middle"))
    y = TOP
    for case, mine in cases:
        parts.append(text(LEFT - 8, y + len(mine) * BAR / 2 + 4, case, text_anchor="end"))
        for row in mine:
            parts.append(_bar(row, x, y))
            y += BAR
        y += GAP
    return picture(WIDE, high, "Share of the roofline by kernel and contestant", *parts)


def _bar(row: KernelRow, x: Scale, y: float) -> str:
    share = row.roofline or 0.0
    colour = COLOURS.get(row.contestant, "violet")
    said = title(f"{row.case}, {row.contestant}: {row.us:.1f} us, {share:.0%} of the roofline")
    body = tag("rect", said, x=x.start, y=y, width=x(share) - x.start, height=BAR - 2, style=f"fill:var(--{colour})")
    return body + text(x(share) + 4, y + BAR - 3, f"{share:.0%}")


def _legend(rows: Sequence[KernelRow]) -> str:
    parts = []
    for at, name in enumerate(dict.fromkeys(row.contestant for row in rows)):
        left = 12 + at * 104.0
        fill = f"fill:var(--{COLOURS.get(name, 'violet')})"
        parts.append(tag("rect", x=left, y=TOP - 17, width=10.0, height=9.0, style=fill))
        parts.append(text(left + 15, TOP - 9, name))
    return "".join(parts)
