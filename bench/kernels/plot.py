"""The study as a picture: a bar a contestant, as long as its share of the roofline."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from ..charts.bars import Bar, BarPicture
from ..machine import DeviceFacts
from .study import KernelRow

COLOURS = {"skipjoin": "blue", "reference": "other", "sdpa": "orange", "flex": "aqua"}
LONGEST = 1.5
"""Times the roofline: what a cache makes faster still ends at the edge."""


def picture_of(rows: Sequence[KernelRow], facts: DeviceFacts, name: str) -> str:
    """An SVG file."""
    measured = [row for row in rows if row.roofline is not None]
    colours = {name: COLOURS.get(name, "violet") for name in dict.fromkeys(row.contestant for row in measured)}
    heads = (f"Kernels for {name}, {facts.dtype}", facts.sentence())
    groups = []
    for case, mine in groupby(measured, key=lambda row: row.case):
        bars: list[Bar] = []
        for row in mine:
            said = f"{case}, {row.contestant}: {row.us:.1f} us, {row.roofline:.0%} of the roofline"
            bars.append(Bar("" if bars else case, row.roofline or 0.0, colours[row.contestant], said))
        groups.append(bars)
    words = "Share of the roofline by kernel and contestant"
    return BarPicture(words, heads, colours, LONGEST, left=210.0, wide=760.0).drawn(groups)
