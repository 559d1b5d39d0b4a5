"""A file of JSON lines that a measurement adds to as it goes.

Owns where the lines lie until the last one is there, and that an older file stays whole until then. It knows no line. `bench engine` and `bench
kernels` write through it; what goes on with an older file (`bench live`, `bench matrix`) adds to that file itself.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from ..core.errors import InvalidInput
from ..core.json_output import STANDARD
from ..core.places import write

Add = Callable[[Mapping[str, object]], None]


@contextmanager
def growing_file(name: str | None, flag: str) -> Iterator[Add]:
    """What adds a line to the file that `--flag` names, on disk at once; None: nowhere; `-`: to standard output, for `--json`.

    The lines lie in NAME.part and take the file's place when the block ends well; after an error or Ctrl-C they stay there. What is no plain file (a
    pipe, /dev/null) is written to directly. Raises InvalidInput when nothing can be written.
    """
    if name is None:
        yield lambda line: None
        return
    if name == STANDARD:
        yield lambda line: write(name, json.dumps(line) + "\n", flag)
        return
    path = Path(name)
    part = path if path.exists() and not path.is_file() else path.with_name(f"{path.name}.part")
    with _told(flag):
        stream = part.open("w", encoding="utf-8")

    def add(line: Mapping[str, object]) -> None:
        with _told(flag):
            stream.write(json.dumps(line) + "\n")
            stream.flush()

    try:
        yield add
    finally:
        with _told(flag):
            stream.close()
    if part != path:
        with _told(flag):
            part.replace(path)


@contextmanager
def _told(flag: str) -> Iterator[None]:
    try:
        yield
    except OSError as bad:
        raise InvalidInput(f"--{flag} cannot be written: {bad.strerror or 'output error'}.", field=flag) from None
