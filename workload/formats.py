"""Reads trace files: our own CSV and the public formats as they are published.

Owns the table of formats and every check of a row. It does not know what a trace is for; `source`
calls it. Formats, told apart by the header:

* own CSV        arrival_s, prompt_tokens, output_tokens; client_id and hash_ids_512tok are read, other columns ignored
* Azure LLM      TIMESTAMP, ContextTokens, GeneratedTokens
* BurstGPT       Timestamp (s), Request tokens, Response tokens
* Mooncake JSONL timestamp (ms), input_length, output_length, hash_ids if there are any
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import NoReturn, TextIO

import numpy as np

from ..core.errors import InvalidTrace
from ..core.ids import DEFAULT_TENANT, TenantId
from .origins import Conversations, Origins
from .trace import MAX_ARRIVAL_S, MAX_OUTPUT_TOKENS, MAX_PROMPT_TOKENS, MAX_ROWS, Trace

MAX_LINE_CHARS = 4 * 2**20
NS = 1_000_000_000
LATEST_S = 10**12
"""Seconds since whenever a trace counts from; ten thousand years are less."""


@dataclass(frozen=True, slots=True)
class _Place:
    """A field of a file, for the error message."""

    file: str
    line: int
    column: str

    def fail(self, what: str, limit: str | None = None) -> NoReturn:
        raise InvalidTrace(
            f"{self.file}, line {self.line}, column {self.column}: {what}", field=self.column, limit=limit
        )


@dataclass(frozen=True, slots=True)
class _Format:
    """Names of the three columns and how their time is written; `drops_empty`: rows with 0 tokens
    are failed requests.
    """

    arrival: str
    prompt: str
    output: str
    time_ns: Callable[[object, _Place], int]
    drops_empty: bool = True

    @property
    def columns(self) -> tuple[str, str, str]:
        return (self.arrival, self.prompt, self.output)


def _number(value: object, place: _Place) -> Fraction:
    """An exact finite number from text or JSON."""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        place.fail("a number is needed.")
    text = str(value).strip()
    try:
        if len(text) > 40 or not math.isfinite(float(text)):
            raise ValueError
        return Fraction(text.replace("_", "?"))
    except (ValueError, ZeroDivisionError):
        place.fail(f"{text[:40]!r} is not a finite number.")


def _seconds(value: object, place: _Place) -> int:
    return round(_number(value, place) * NS)


def _milliseconds(value: object, place: _Place) -> int:
    return round(_number(value, place) * (NS // 1000))


def _timestamp(value: object, place: _Place) -> int:
    """Azure's `2023-11-16 18:15:46.6805900`: whole seconds by the calendar, the fraction (any
    number of digits) exactly.
    """
    text = str(value).strip()
    whole, _, rest = text.partition(".")
    digits = rest[: len(rest) - len(rest.lstrip("0123456789"))]
    zone = rest[len(digits) :]
    try:
        moment = datetime.fromisoformat(whole + zone)
    except ValueError:
        place.fail(f"{text[:40]!r} is not a time like 2023-11-16 18:15:46.6805900.")
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return int(moment.timestamp()) * NS + (int(digits[:9].ljust(9, "0")) if digits else 0)


def _tokens(value: object, place: _Place, high: int, low: int) -> int:
    number = _number(value, place)
    limit = f"{low}..{high}"
    if number.denominator != 1:
        place.fail(f"{value} is not a whole number of tokens.", limit)
    if not low <= number <= high:
        place.fail(f"{value} tokens; it must be {limit}.", limit)
    return int(number)


OWN = _Format("arrival_s", "prompt_tokens", "output_tokens", _seconds, drops_empty=False)
AZURE = _Format("TIMESTAMP", "ContextTokens", "GeneratedTokens", _timestamp)
BURSTGPT = _Format("Timestamp", "Request tokens", "Response tokens", _seconds)
MOONCAKE = _Format("timestamp", "input_length", "output_length", _milliseconds)
CLIENT = "client_id"
BLOCKS = ("hash_ids_512tok", "hash_ids")
_CSV_FORMATS = (OWN, AZURE, BURSTGPT)


def read_trace(path: Path, limit: int | None = None) -> Trace:
    """The trace in `path`, its first `limit` usable rows (None: all).

    Raises InvalidTrace naming file, line and column: missing column, no number, NaN, negative or
    decreasing time, tokens out of bounds, no row at all, a line that is no text.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            return _read(stream, path.name, limit)
    except UnicodeDecodeError:
        raise InvalidTrace(
            f"{path.name}, line {_undecodable_line(path)} is not UTF-8: save the file as text in UTF-8.", field="trace"
        ) from None
    except OSError as bad:
        raise InvalidTrace(f"{path.name} cannot be read: {bad.strerror or 'input error'}.", field="trace") from None


def _undecodable_line(path: Path) -> int:
    """The first line that is not UTF-8. A line feed is one byte in every UTF-8 text, so lines can
    be told apart before they are read.
    """
    with path.open("rb") as stream:
        for number, line in enumerate(stream, start=1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError:
                return number
    return 1


def _read(stream: TextIO, file: str, limit: int | None) -> Trace:
    lines = _bounded(stream, file)
    first = next(lines, "")
    if first and not first.strip():
        raise InvalidTrace(f"{file}, line 1 is blank; a header line must stand there.", field="trace")
    if not first:
        raise InvalidTrace(f"{file} is empty; a header line and at least one row are needed.", field="trace")
    if first.lstrip().startswith("{"):
        return _collect(_json_rows(chain([first], lines), file), MOONCAKE, file, limit)
    return _collect(*_csv_rows(first, lines, file), file, limit)


def _bounded(stream: TextIO, file: str) -> Iterator[str]:
    number = 0
    while line := stream.readline(MAX_LINE_CHARS + 1):
        number += 1
        if len(line) > MAX_LINE_CHARS:
            raise InvalidTrace(f"{file}, line {number} is longer than {MAX_LINE_CHARS} characters.", field="trace")
        yield line


Rows = Iterator[tuple[int, Mapping[str, object]]]


def _csv_rows(first: str, lines: Iterator[str], file: str) -> tuple[Rows, _Format]:
    header = [name.strip() for name in next(csv.reader([first]))]
    fitting = max(_CSV_FORMATS, key=lambda known: sum(name in header for name in known.columns))
    missing = [name for name in fitting.columns if name not in header]
    if missing:
        raise InvalidTrace(
            f"{file}, line 1: no column {missing[0]}; the header must name {', '.join(fitting.columns)}.",
            field=missing[0],
        )
    twice = [name for name in fitting.columns if header.count(name) > 1]
    if twice:
        raise InvalidTrace(f"{file}, line 1: column {twice[0]} stands there twice.", field=twice[0])
    return _csv_body(header, lines, file), fitting


def _csv_body(header: list[str], lines: Iterator[str], file: str) -> Rows:
    reader = csv.reader(lines, strict=True)
    try:
        for fields in reader:
            line = reader.line_num + 1
            if not fields or (len(fields) == 1 and not fields[0].strip()):
                continue
            if len(fields) != len(header):
                raise InvalidTrace(
                    f"{file}, line {line}: {len(fields)} fields under a header of {len(header)}.", field="trace"
                )
            yield line, dict(zip(header, fields, strict=True))
    except csv.Error as bad:
        raise InvalidTrace(f"{file}, line {reader.line_num + 1}: {bad}.", field="trace") from None


def _json_rows(lines: Iterator[str], file: str) -> Rows:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            raise InvalidTrace(f"{file}, line {number} is not a JSON object.", field="trace") from None
        if not isinstance(row, dict):
            raise InvalidTrace(f"{file}, line {number} is not a JSON object.", field="trace")
        for column in MOONCAKE.columns:
            if column not in row:
                raise InvalidTrace(f"{file}, line {number}: no field {column}.", field=column)
        yield number, row


def _collect(rows: Rows, fmt: _Format, file: str, limit: int | None) -> Trace:
    arrivals: list[int] = []
    prompts: list[int] = []
    outputs: list[int] = []
    tenants: list[TenantId] = []
    earlier: list[int] = []
    conversations = Conversations()
    dropped = 0
    origin: int | None = None
    last = 0
    low = 0 if fmt.drops_empty else 1
    for line, row in rows:
        if limit is not None and len(arrivals) >= limit:
            break
        if len(arrivals) >= MAX_ROWS:
            raise InvalidTrace(f"{file} has too many rows.", field="trace", limit=f"at most {MAX_ROWS}")
        place = _Place(file, line, fmt.arrival)
        now = fmt.time_ns(row[fmt.arrival], place)
        if now < 0:
            place.fail("a time before 0.", "0 or more")
        if now > LATEST_S * NS:
            place.fail("later than any calendar knows.", f"at most {LATEST_S} s")
        origin = now if origin is None else origin
        if now < last:
            place.fail("earlier than the row before; rows must be in order of arrival.")
        if now - origin > MAX_ARRIVAL_S * NS:
            place.fail("more than ten years behind the first row.", f"{MAX_ARRIVAL_S} s")
        last = now
        prompt = _tokens(row[fmt.prompt], _Place(file, line, fmt.prompt), MAX_PROMPT_TOKENS, low)
        output = _tokens(row[fmt.output], _Place(file, line, fmt.output), MAX_OUTPUT_TOKENS, low)
        if prompt == 0 or output == 0:
            dropped += 1
            continue
        arrivals.append(now - origin)
        prompts.append(prompt)
        outputs.append(output)
        tenants.append(TenantId(str(row.get(CLIENT, DEFAULT_TENANT))))
        earlier.append(conversations.add(_blocks(row), output))
    if not arrivals:
        raise InvalidTrace(f"{file} holds a header and no usable row.", field="trace", limit="at least 1 row")
    arrival_ns = np.asarray(arrivals, dtype=np.int64)
    return Trace(
        name=file.split(".")[0] or file,
        arrival_ns=arrival_ns - arrival_ns[0],
        prompt_tokens=np.asarray(prompts, dtype=np.int32),
        output_tokens=np.asarray(outputs, dtype=np.int32),
        dropped_rows=dropped,
        origins=Origins(tuple(tenants), np.asarray(earlier, dtype=np.int32)),
    )


def _blocks(row: Mapping[str, object]) -> list[str]:
    """Names of the blocks of a prompt, whatever they are; none where the row does not tell."""
    named = next((row[column] for column in BLOCKS if column in row), None)
    if isinstance(named, list):
        return [str(block) for block in named]
    return str(named).split() if named is not None else []
