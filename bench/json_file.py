"""The JSON that a measurement writes: one value at its end, or a line for each thing measured.

Owns where lines lie until the last one is there, and that an older file stays whole until then. It
knows no value. A file that is gone on with (`bench live`, `bench matrix`) is its room's own.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from ..console.json_flag import STANDARD
from ..console.output_file import write
from ..core.errors import InvalidInput

Add = Callable[[Mapping[str, object]], None]


def write_json(name: str | None, value: Mapping[str, object]) -> None:
    """The value into the file that `--json` names; None: nowhere. Raises InvalidInput."""
    if name is not None:
        write(name, json.dumps(value, indent=2) + "\n", "json")


@contextmanager
def json_lines(name: str | None) -> Iterator[Add]:
    """Gives what adds a line to the file of `--json` (None: nowhere, `-`: standard output) at once.

    The lines lie in NAME.part and take the file's place when the block ends well. After an error or
    Ctrl-C they stay there. What is no plain file (a pipe, /dev/null) is written to directly. Raises
    InvalidInput when nothing can be written.
    """
    if name is None:
        yield lambda line: None
        return
    if name == STANDARD:
        yield lambda line: write(name, json.dumps(line) + "\n", "json")
        return
    path = Path(name)
    part = path if path.exists() and not path.is_file() else path.with_name(f"{path.name}.part")
    with _told():
        stream = part.open("w", encoding="utf-8")

    def add(line: Mapping[str, object]) -> None:
        with _told():
            stream.write(json.dumps(line) + "\n")
            stream.flush()

    try:
        yield add
    finally:
        with _told():
            stream.close()
    if part != path:
        with _told():
            part.replace(path)


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except OSError as bad:
        raise InvalidInput(f"--json cannot be written: {bad.strerror or 'output error'}.", field="json") from None
