"""Files that others wrote, read with a word for what is wrong in them.

Owns the folder of data, the check of what they hold, `MeasuredRun` (when each request came, showed its
first token and ended) and `Curve` (latency against arrival rate, point by point).
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise, zip_longest
from pathlib import Path
from typing import Annotated, ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ...core.errors import InvalidSettings, InvalidTrace
from ...core.plan import Int32s, Int64s
from ...workload.source import DATA_VARIABLE
from ..scenario_file import fault_of

MAX_BYTES = 64 << 20


def data_folder(named: str | None, holds: str) -> Path:
    """The folder that `--data` or the environment names. Raises InvalidSettings."""
    folder = named or os.environ.get(DATA_VARIABLE)
    if not folder or not Path(folder).is_dir():
        what = "--data is missing" if not folder else f"--data {folder} is no folder"
        raise InvalidSettings(f"{what}; it names the folder of {holds}.", field="data")
    return Path(folder)


def text_of(path: Path, most_bytes: int = MAX_BYTES) -> str:
    """The file's text. Raises InvalidTrace."""
    try:
        if path.stat().st_size > most_bytes:
            raise InvalidTrace(f"{path.name} is too large.", field="file", limit=f"at most {most_bytes} bytes")
        return path.read_text(encoding="utf-8")
    except OSError as problem:
        raise InvalidTrace(f"{path.name} cannot be read: {problem.strerror}.", field="file") from None
    except UnicodeDecodeError:
        raise InvalidTrace(f"{path.name} is no text file.", field="file") from None


class Part(BaseModel):
    """An object or a line of such a file; what is not named here is not looked at."""

    model_config: ClassVar[ConfigDict] = ConfigDict(allow_inf_nan=False)


P = TypeVar("P", bound=Part)
Count = Annotated[int, Field(ge=1, le=1 << 20)]


def part_of(raw: str | dict[str, str | None], kind: type[P], where: str, whole: str) -> P:
    """JSON, or the cells of a line by column, as that kind.

    Raises InvalidTrace naming the field, or `whole` where it is none of its own.
    """
    try:
        return kind.model_validate_json(raw, strict=True) if isinstance(raw, str) else kind.model_validate(raw)
    except ValidationError as bad:
        at, words = fault_of(bad)
        field = at.rpartition(".")[2]
        raise InvalidTrace(f"{where}: {f'{field}: ' if field else ''}{words}.", field=field or whole) from None


Floats = NDArray[np.float64]
REQUESTS = "_vllm_measured_requests.jsonl"
_NS = 1e9
_Stamp = Annotated[float, Field(ge=0, le=1e10)]


class _Request(Part):
    input_toks: Count
    output_toks: Count
    arrival_time: _Stamp
    queued_ts: _Stamp
    scheduled_ts: _Stamp
    first_token_ts: _Stamp
    last_token_ts: _Stamp

    @model_validator(mode="after")
    def _in_order(self) -> _Request:
        stamps = [self.queued_ts, self.scheduled_ts, self.first_token_ts, self.last_token_ts]
        if stamps != sorted(stamps):
            raise ValueError("a token is earlier than what comes before it")
        return self


@dataclass(frozen=True, slots=True, eq=False)
class MeasuredRun:
    """Requests in order of arrival: int64[n] ns since the first, int32[n] tokens."""

    name: str
    arrival_ns: Int64s
    prompt_tokens: Int32s
    output_tokens: Int32s
    first_ns: Int64s
    end_ns: Int64s
    #: The most requests that were between their first scheduling and their last token at once.
    running: int

    def __len__(self) -> int:
        return len(self.arrival_ns)

    def mean_ttft_s(self, part: slice = slice(None)) -> float:
        """Mean seconds from arrival to first token, of the requests in `part`."""
        return float((self.first_ns - self.arrival_ns)[part].mean()) / _NS

    def mean_latency_s(self, part: slice = slice(None)) -> float:
        """Mean seconds from arrival to last token, of the requests in `part`."""
        return float((self.end_ns - self.arrival_ns)[part].mean()) / _NS


def read_run(path: Path) -> MeasuredRun:
    """The run in `path`. Raises InvalidTrace naming file, line and field.

    Arrivals are stamped by another clock than the rest. The two are laid on each other where a
    request was queued soonest after it arrived.
    """
    lines = enumerate(text_of(path).splitlines(), 1)
    rows = [part_of(line, _Request, f"{path.name}, line {at}", "line") for at, line in lines if line.strip()]
    if len(rows) < 2:
        raise InvalidTrace(f"{path.name} holds {len(rows)} requests.", field="requests", limit="2 or more")
    rows.sort(key=lambda row: row.arrival_time)
    column = {key: np.array([getattr(row, key) for row in rows]) for key in _Request.model_fields}
    shift_s = float((column["queued_ts"] - column["arrival_time"]).min())
    start_s = column["arrival_time"][0] + shift_s

    def on_clock(key: str, shift: float = 0.0) -> Int64s:
        out: Int64s = np.rint((column[key] + shift - start_s) * _NS).astype(np.int64)
        return out

    return MeasuredRun(
        path.name.removesuffix(REQUESTS),
        on_clock("arrival_time", shift_s),
        column["input_toks"].astype(np.int32),
        column["output_toks"].astype(np.int32),
        on_clock("first_token_ts"),
        on_clock("last_token_ts"),
        _most_at_once(column["scheduled_ts"], column["last_token_ts"]),
    )


def _most_at_once(begin: Floats, end: Floats) -> int:
    """At an instant at which one ends and one begins both count once."""
    begun, ended = np.sort(begin), np.sort(end)
    return int((np.arange(1, len(begun) + 1) - np.searchsorted(ended, begun, "right")).max())


FILE = "fastserve_published_curves.csv"
CLIPPED = "clipped"
"""In the note of a point where a line leaves the picture: true of the line, but not measured."""


_Name = Annotated[str, Field(min_length=1)]
_Positive = Annotated[float, Field(gt=0, le=1e6)]


class _CurveRow(Part):
    figure_pdf: _Name
    panel: _Name
    system: _Name
    arrival_rate_job_s: _Positive
    latency_s_per_token: _Positive
    note: str


COLUMNS = tuple(_CurveRow.model_fields)


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
    for where, cells in _rows(path):
        row = part_of(cells, _CurveRow, where, "line")
        point = Point(row.arrival_rate_job_s, row.latency_s_per_token, CLIPPED not in row.note)
        found.setdefault((row.figure_pdf, row.panel, row.system), []).append(point)
    return tuple(
        Curve(*what, tuple(sorted(points, key=lambda point: point.rate))) for what, points in sorted(found.items())
    )


def _rows(path: Path) -> Iterator[tuple[str, dict[str, str | None]]]:
    """Where each line stands, and its cells by column."""
    lines = text_of(path).splitlines()
    header = lines[0].split(",") if lines else []
    if lacking := [column for column in COLUMNS if column not in header]:
        raise InvalidTrace(f"{path.name}, line 1: there is no column {lacking[0]}.", field=lacking[0])
    for at, line in enumerate(lines[1:], 2):
        where = f"{path.name}, line {at}"
        if not line.strip():
            continue
        try:
            cells = next(csv.reader([line], strict=True))
        except (csv.Error, StopIteration):
            raise InvalidTrace(f"{where}: no CSV.", field="line") from None
        if len(cells) > len(header):
            raise InvalidTrace(f"{where}: {len(cells)} fields and not {len(header)}.", field=header[-1])
        yield where, dict(zip_longest(header, cells))
