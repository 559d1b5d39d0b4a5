"""Rows of a published CSV, each value checked, each error with file, line and column.

Owns `Row`, `read_rows` and how files are found behind what a person typed. It knows no format; the
modules beside it ask for their columns, and `choice` says which of the files are meant.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from ...core.errors import InvalidProfile

MAX_BYTES = 64 << 20
MAX_ROWS = 1_000_000
LARGEST = 1e12


@dataclass(frozen=True, slots=True)
class Wish:
    """What the flags say beside the source: which model and degree of parallelism, and what no
    source tells.

    `kv_tokens` is the device's room for KV, `link_gbps` GB (10^9 bytes) a second to the host and
    back; None: not said.
    """

    model: str | None = None
    device: str | None = None
    tensor_parallel: int | None = None
    kv_tokens: int | None = None
    link_gbps: float | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a file."""

    file: str
    line: int
    values: dict[str, str]

    def text(self, column: str) -> str:
        """What stands there, without blanks around it."""
        return self.values[column].strip()

    def real(self, column: str, low: float = 0.0) -> float:
        """A finite number of at least `low`. Raises InvalidProfile."""
        text = self.text(column)
        try:
            value = float(text)
        except ValueError:
            self.fail(column, f"{text[:40]!r} is no number")
        if not math.isfinite(value) or not low <= value <= LARGEST:
            self.fail(column, f"{text[:40]} is out of bounds", f"finite, {low:g} or more")
        return value

    def whole(self, column: str, low: int = 0) -> int:
        """A whole number of at least `low`. Raises InvalidProfile."""
        value = self.real(column, low)
        if value != int(value):
            self.fail(column, f"{value:g} is not whole", f"whole, {low} or more")
        return int(value)

    def fail(self, column: str, what: str, limit: str | None = None) -> NoReturn:
        """Raise the error for this line."""
        tail = f"; it must be {limit}" if limit else ""
        raise InvalidProfile(
            f"{self.file}, line {self.line}, column {column}: {what}{tail}.", field=column, limit=limit
        )


def read_rows(path: Path, columns: Sequence[str]) -> list[Row]:
    """Every row of `path`, which must have `columns`; others are ignored. Raises InvalidProfile,
    also for a file without rows.
    """
    rows: list[Row] = []
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InvalidProfile(f"{path.name} is too large.", field="source", limit=f"at most {MAX_BYTES} bytes")
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream, strict=True)
            names = [name.strip() for name in next(reader, [])]
            for column in columns:
                if names.count(column) != 1:
                    how = "is missing" if column not in names else "stands there twice"
                    raise InvalidProfile(f"{path.name}, line 1: column {column} {how}.", field=column)
            for values in reader:
                if not values:
                    continue
                if len(values) != len(names):
                    raise InvalidProfile(
                        f"{path.name}, line {reader.line_num}: {len(values)} values under {len(names)} columns.",
                        field="source",
                    )
                rows.append(Row(path.name, reader.line_num, dict(zip(names, values, strict=True))))
                if len(rows) > MAX_ROWS:
                    raise InvalidProfile(f"{path.name} is too long.", field="source", limit=f"at most {MAX_ROWS} rows")
    except UnicodeDecodeError:
        raise InvalidProfile(f"{path.name} is no text file.", field="source") from None
    except csv.Error as problem:
        raise InvalidProfile(f"{path.name}, line {reader.line_num}: no CSV: {problem}.", field="source") from None
    except OSError as problem:
        raise InvalidProfile(f"{path.name} cannot be read: {problem.strerror}.", field="source") from None
    if not rows:
        raise InvalidProfile(f"{path.name} has no rows.", field="source", limit="1 row or more")
    return rows


def header(path: Path) -> tuple[str, ...]:
    """The names in the first line; () for what is no text. Raises InvalidProfile when it cannot be
    read.
    """
    try:
        with path.open(encoding="utf-8-sig", errors="replace", newline="") as stream:
            line = stream.readline(1 << 16)
    except OSError as problem:
        raise InvalidProfile(f"{path.name} cannot be read: {problem.strerror}.", field="source") from None
    return tuple(name.strip() for name in line.strip().split(","))


def files_behind(source: str) -> tuple[Path, ...]:
    """The files of a folder, one file, or all files whose path begins with `source`. Raises
    InvalidProfile when there are none.
    """
    if not source.strip():
        raise InvalidProfile("SOURCE is empty; it names a file, a folder or what paths begin with.", field="source")
    path = Path(source)
    if path.is_file():
        return (path,)
    found = path.iterdir() if path.is_dir() else path.parent.glob(f"{_literal(path.name)}*") if path.name else ()
    files = tuple(sorted(one for one in found if one.is_file()))
    if not files:
        raise InvalidProfile(f"{source!r} is no file, no folder with files and no beginning of either.", field="source")
    return files


def column_named(files: Sequence[Path], columns: Sequence[str]) -> tuple[Path, ...]:
    """Those of the CSV files that have all `columns`."""
    wanted = set(columns)
    return tuple(path for path in files if path.suffix == ".csv" and wanted <= set(header(path)))


def _literal(name: str) -> str:
    return "".join(f"[{char}]" if char in "*?[" else char for char in name)
