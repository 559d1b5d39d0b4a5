"""The study as a picture: a bar a line, as long as its share, with its target as a stroke."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from ..charts.bars import Bar, BarPicture
from ..machine import DeviceFacts
from .figures import COPY_SHARE, IDLE, ROOFLINE, SLOWER, Row

COLOURS = {ROOFLINE: "blue", COPY_SHARE: "aqua", SLOWER: "orange", IDLE: "violet"}
LEGEND = {ROOFLINE: "of the roofline", COPY_SHARE: "of a copy", SLOWER: "slower by moves", IDLE: "of the time idle"}
LONGEST = 1.25


def picture_of(rows: Sequence[Row], facts: DeviceFacts, name: str) -> str:
    """An SVG file."""
    shown = [row for row in rows if row.of is not None and row.share is not None]
    colours = {LEGEND[of]: COLOURS[of] for row in shown if (of := row.of) is not None}
    heads = (f"Whole iterations of {name}, {facts.dtype}", facts.sentence())
    groups = [[_bar(row) for row in mine] for _, mine in groupby(shown, key=lambda row: row.case)]
    return BarPicture("Shares of rooflines and copies, and of time, by iteration", heads, colours, LONGEST).drawn(
        groups
    )


def _bar(row: Row) -> Bar:
    assert row.share is not None and row.of is not None, "only rows with a share are drawn"
    share = row.share.median
    said = f"{row.case}, {row.what}: {row.value.median:.3g} {row.unit}, {share:.1%} {LEGEND[row.of]}"
    return Bar(f"{row.case}: {row.what}", share, COLOURS[row.of], said, row.target)
