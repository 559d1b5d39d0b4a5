"""Results as JSON lines that are gone on with after an end of any kind.

Owns the file: one writer at a time, each line on the disk before the next is measured, a last line
that a crash tore is cut off, and one that a person edited is an error with its number. What a line
must hold is its room's to say.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from ..console.json_flag import STANDARD
from ..console.output_file import write
from ..core.errors import InvalidInput, Unavailable

Line = dict[str, Any]
Fault = Callable[[Line, Line], str | None]
"""(a line, the last line) -> the first field that is missing or cannot be; "" is the whole line."""


class ResultLines:
    """Lines in a file, on standard output (`-`), or (None) in memory; use it in a `with`."""

    def __init__(self, name: str | Path | None, flag: str, fault: Fault) -> None:
        """Read what is there. Raises InvalidInput, Unavailable for a second writer."""
        self._flag = flag
        self._shown = name == STANDARD
        self._stream = None
        self.lines: list[Line] = []
        #: Whether a last line was cut off.
        self.torn = False
        if name is None or self._shown:
            return
        path = Path(name)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._stream = path.open("a+b")
        except OSError as bad:
            raise InvalidInput(f"--{flag} {path.name} cannot be written: {bad.strerror}.", field=flag) from None
        try:
            self._take(path.name, fault)
        except BaseException:
            self._stream.close()
            raise

    def _take(self, name: str, fault: Fault) -> None:
        assert self._stream is not None, "there is a file"
        try:
            fcntl.flock(self._stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            what = f"Another run writes into this {name}: wait for it or give another --{self._flag}."
            raise Unavailable(what) from None
        self._stream.seek(0)
        data = self._stream.read()
        self.lines = parsed(data, name, self._flag, fault)
        if (whole := data.rfind(b"\n") + 1) < len(data):
            self.torn = True
            self._stream.truncate(whole)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._stream is not None:
            self._stream.close()

    def add(self, line: Line) -> None:
        """Keep it; it is on the disk when this returns. Raises InvalidInput."""
        self.lines.append(line)
        if self._shown:
            write(STANDARD, json.dumps(line) + "\n", self._flag)
        if self._stream is not None:
            try:
                self._stream.write(json.dumps(line, separators=(",", ":")).encode() + b"\n")
                self._stream.flush()
                os.fsync(self._stream.fileno())
            except OSError as bad:
                why = bad.strerror or "output error"
                raise InvalidInput(f"--{self._flag} cannot be written: {why}.", field=self._flag) from None


def parsed(data: bytes, name: str, flag: str, fault: Fault) -> list[Line]:
    """The lines but for a torn last one. Raises InvalidInput naming a bad line and its field."""
    lines: list[Any] = []
    for text in data[: data.rfind(b"\n") + 1].splitlines():
        try:
            lines.append(json.loads(text))
        except (ValueError, RecursionError):
            lines.append(None)
    last = lines[-1] if lines and isinstance(lines[-1], dict) else {}
    for number, line in enumerate(lines, start=1):
        found = fault(line, last) if isinstance(line, dict) else ""
        if found is not None:
            what = f"{found} is missing or cannot be" if found else "no result of this command"
            how = "delete that line, or name another file"
            raise InvalidInput(f"{name}, line {number}: {what}: {how}.", field=flag)
    return lines
