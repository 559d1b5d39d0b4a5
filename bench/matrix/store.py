"""The results of a matrix on disk: `results.jsonl`, a line a run, added as it ends.

Owns the file: one writer at a time, a last line that a crash tore is cut off, a line that is no
result is an error with its number. Of a run it knows kind, key and code version; what else a line
of this code must hold stands in `lines`. `runner` appends, the report reads.
"""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ...core.errors import InvalidInput, Unavailable
from .lines import fault

FILE = "results.jsonl"
Line = dict[str, Any]


def identity(kind: str, key: Line, code: str) -> str:
    """What two lines about the same thing have in common."""
    return json.dumps([kind, key, code], sort_keys=True)


class Store:
    """Results in a folder, of one code version; use it in a `with`."""

    def __init__(self, folder: Path, code: str) -> None:
        """Make the folder, read what is there. Raises InvalidInput, Unavailable for a second
        writer.
        """
        self.code = code
        self.torn = False
        self._known: dict[str, Line] = {}
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._stream = (folder / FILE).open("a+b")
        except OSError as bad:
            raise InvalidInput(f"{folder.name} cannot be written: {bad.strerror}.", field="out") from None
        try:
            self._take()
        except BaseException:
            self._stream.close()
            raise

    def _take(self) -> None:
        try:
            fcntl.flock(self._stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise Unavailable(f"Another run writes into this {FILE}: wait for it or give another --out.") from None
        self._stream.seek(0)
        data = self._stream.read()
        whole = data.rfind(b"\n") + 1
        if whole < len(data):
            self.torn = True
            self._stream.truncate(whole)
        for line in parse(data[:whole], self.code):
            self._known[identity(line["kind"], line["key"], line["code"])] = line

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stream.close()

    def find(self, kind: str, key: Line) -> Line | None:
        """The line of this code version about `key`, if there is one."""
        return self._known.get(identity(kind, key, self.code))

    def lines(self) -> list[Line]:
        """The lines of this code version, in the order they were written."""
        return [line for line in self._known.values() if line["code"] == self.code]

    def add(self, line: Line) -> None:
        """Append `line` as a result of this code version; it is on the disk when this returns."""
        line = {"kind": line["kind"], "code": self.code, **line}
        self._stream.write(json.dumps(line, separators=(",", ":")).encode() + b"\n")
        self._stream.flush()
        os.fsync(self._stream.fileno())
        self._known[identity(line["kind"], line["key"], self.code)] = line


def parse(data: bytes, code: str | None) -> list[Line]:
    """The lines of whole results. Raises InvalidInput naming a bad line, and of `code` a bad field."""
    lines = []
    for number, text in enumerate(data.splitlines(), start=1):
        try:
            line = json.loads(text)
            fits = isinstance(line["kind"], str) and isinstance(line["key"], dict) and isinstance(line["code"], str)
        except (ValueError, RecursionError, TypeError, KeyError):
            fits = False
        if not fits:
            raise InvalidInput(f"{FILE}, line {number} is no result: delete that line, or the file.", field="out")
        lines.append(line)
    for number, line in enumerate(lines, start=1):
        lacking = fault(line) if line["code"] == (code or lines[-1]["code"]) else None
        if lacking is not None:
            raise InvalidInput(
                f"{FILE}, line {number}: {lacking} is missing or cannot be: delete that line, or the file.", field="out"
            )
    return lines


def read_results(folder: Path) -> list[Line]:
    """The lines of the code that wrote last, one per key, but for a torn last one. Raises
    InvalidInput.
    """
    try:
        data = (folder / FILE).read_bytes()
    except OSError as bad:
        raise InvalidInput(f"{FILE} in {folder.name} cannot be read: {bad.strerror}.", field="DIR") from None
    lines = parse(data[: data.rfind(b"\n") + 1], None)
    if not lines:
        raise InvalidInput(f"{FILE} in {folder.name} holds no result yet.", field="DIR")
    code = lines[-1]["code"]
    return list({identity(one["kind"], one["key"], code): one for one in lines if one["code"] == code}.values())
