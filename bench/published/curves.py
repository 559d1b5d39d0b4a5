"""Published curves: latency against arrival rate, point by point, as somebody read them off the figures.

Owns `Curve`, the reader of the CSV and where a curve crosses a latency. It does not know what is simulated; `panels` names the curves it wants.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from ...core.errors import InvalidTrace

MAX_BYTES = 16 << 20
FILE = "fastserve_published_curves.csv"
COLUMNS = ("figure_pdf", "panel", "system", "arrival_rate_job_s", "latency_s_per_token", "note")
CLIPPED = "clipped"
"""In the note of a point that lies where a line leaves the picture: true of the line, but nobody measured there."""


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
    """The rate at which a curve reaches a latency; `beyond`: it had not done so at the last rate, which this is."""

    rate: float
    beyond: bool = False


def crossing(points: Sequence[Point], latency_s: float) -> Crossing | None:
    """Where straight lines between the points first reach `latency_s`; None when the first point is above it already."""
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
    for number, row in _rows(path):
        what = (row["figure_pdf"], row["panel"], row["system"])
        if not all(what):
            raise InvalidTrace(f"{path.name}, line {number}: figure, panel or system is empty.", field="system")
        point = Point(
            _number(path.name, number, row, "arrival_rate_job_s"),
            _number(path.name, number, row, "latency_s_per_token"),
            CLIPPED not in row["note"],
        )
        found.setdefault(what, []).append(point)
    return tuple(
        Curve(*what, tuple(sorted(points, key=lambda point: point.rate))) for what, points in sorted(found.items())
    )


def _rows(path: Path) -> Iterable[tuple[int, dict[str, str]]]:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InvalidTrace(f"{path.name} is too large.", field="file", limit=f"at most {MAX_BYTES} bytes")
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as problem:
        raise InvalidTrace(f"{path.name} cannot be read: {problem.strerror}.", field="file") from None
    except UnicodeDecodeError:
        raise InvalidTrace(f"{path.name} is no text file.", field="file") from None
    header = tuple(lines[0].split(",")) if lines else ()
    for column in COLUMNS:
        if column not in header:
            raise InvalidTrace(f"{path.name}, line 1: there is no column {column}.", field=column)
    for number, line in enumerate(lines[1:], 2):
        if not line.strip():
            continue
        try:
            cells = next(csv.reader([line], strict=True))
        except (csv.Error, StopIteration):
            raise InvalidTrace(f"{path.name}, line {number}: no CSV.", field="line") from None
        if len(cells) != len(header):
            words = f"{path.name}, line {number}: {len(cells)} fields and not {len(header)}."
            raise InvalidTrace(words, field=header[min(len(cells), len(header) - 1)])
        yield number, dict(zip(header, cells, strict=True))


def _number(file: str, line: int, row: dict[str, str], column: str) -> float:
    try:
        value = float(row[column])
    except ValueError:
        raise InvalidTrace(f"{file}, line {line}: {column} is no number: {row[column][:40]!r}.", field=column) from None
    if not math.isfinite(value) or not 0 < value <= 1e6:
        raise InvalidTrace(f"{file}, line {line}: {column} is {value:g}.", field=column, limit="above 0, at most 1e6")
    return value
