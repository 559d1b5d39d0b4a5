"""Published curves: latency against arrival rate, point by point.

Owns `Curve`, the reader of the CSV and where a curve crosses a latency. `panels` names the curves.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from ...core.errors import InvalidTrace
from .reading import number, text_of

FILE = "fastserve_published_curves.csv"
COLUMNS = ("figure_pdf", "panel", "system", "arrival_rate_job_s", "latency_s_per_token", "note")
CLIPPED = "clipped"
"""In the note of a point where a line leaves the picture: true of the line, but not measured."""


@dataclass(frozen=True, slots=True)
class Point:
    """Mean latency per output token in seconds at so many jobs a second."""

    rate: float
    latency_s: float
    measured: bool = True


@dataclass(frozen=True, slots=True)
class Curve:
    """The points of one system in one panel of one figure, by rising rate."""

    figure: str
    panel: str
    system: str
    points: tuple[Point, ...]


@dataclass(frozen=True, slots=True)
class Crossing:
    """The rate at which a curve reaches a latency, or (`beyond`) its last rate."""

    rate: float
    beyond: bool = False


def crossing(points: Sequence[Point], latency_s: float) -> Crossing | None:
    """Where straight lines between the points reach `latency_s`; None: all above it."""
    if not points or points[0].latency_s > latency_s:
        return None
    for left, right in pairwise(points):
        if right.latency_s >= latency_s:
            share = (latency_s - left.latency_s) / (right.latency_s - left.latency_s)
            return Crossing(left.rate + share * (right.rate - left.rate))
    return Crossing(points[-1].rate, beyond=True)


def find_file(folder: Path) -> Path:
    """The CSV in `folder` or in its `published`. Raises InvalidTrace."""
    for home in (folder / "published", folder):
        if (home / FILE).is_file():
            return home / FILE
    raise InvalidTrace(f"The folder holds no {FILE}, nor does a folder published in it.", field="data")


def read_curves(path: Path) -> tuple[Curve, ...]:
    """Every curve of the file. Raises InvalidTrace naming file, line and field."""
    found: dict[tuple[str, str, str], list[Point]] = {}
    for where, row in _rows(path):
        what = (row["figure_pdf"], row["panel"], row["system"])
        if not all(what):
            raise InvalidTrace(f"{where}: figure, panel or system is empty.", field="system")
        rate, latency_s = (_positive(where, row, key) for key in ("arrival_rate_job_s", "latency_s_per_token"))
        found.setdefault(what, []).append(Point(rate, latency_s, CLIPPED not in row["note"]))
    return tuple(
        Curve(*what, tuple(sorted(points, key=lambda point: point.rate))) for what, points in sorted(found.items())
    )


def _rows(path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """Where each line stands, and its cells by column."""
    lines = text_of(path).splitlines()
    header = tuple(lines[0].split(",")) if lines else ()
    for column in COLUMNS:
        if column not in header:
            raise InvalidTrace(f"{path.name}, line 1: there is no column {column}.", field=column)
    for at, line in enumerate(lines[1:], 2):
        where = f"{path.name}, line {at}"
        if not line.strip():
            continue
        try:
            cells = next(csv.reader([line], strict=True))
        except (csv.Error, StopIteration):
            raise InvalidTrace(f"{where}: no CSV.", field="line") from None
        if len(cells) != len(header):
            missing = header[min(len(cells), len(header) - 1)]
            raise InvalidTrace(f"{where}: {len(cells)} fields and not {len(header)}.", field=missing)
        yield where, dict(zip(header, cells, strict=True))


def _positive(where: str, row: dict[str, str], key: str) -> float:
    value: float | str = row[key]
    with suppress(ValueError):
        value = float(value)
    return number(where, key, value, math.ulp(0.0), 1e6, "above 0, at most 1e6")
