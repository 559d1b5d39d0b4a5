"""A file of output: checked before the work that makes it, written after.

Owns both and the words for what goes wrong. Commands with a flag for a file call `place` first and
`write` last: a disk that fills up later is told then.
"""

from __future__ import annotations

import os
from pathlib import Path

from ..core.errors import InvalidInput
from .json_flag import STANDARD, json_stream


def place(name: str, flag: str) -> Path:
    """The file that `--flag` names, there already or not. Raises InvalidInput for a folder, and
    where nothing may be written.
    """
    path = Path(name)
    fits = os.access(path, os.W_OK) if path.exists() else path.parent.is_dir() and os.access(path.parent, os.W_OK)
    if path.is_dir() or not fits:
        raise InvalidInput(f"--{flag} {name} is no place to write a file.", field=flag)
    return path


def write(name: str, text: str, flag: str) -> None:
    """`text` into the file that `--flag` names; `-` is standard output for `--json`. Raises
    InvalidInput.
    """
    if name == STANDARD and flag == "json":
        stream = json_stream()
        stream.write(text)
        stream.flush()
        return
    path = Path(name)
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as bad:
        raise InvalidInput(f"{path.name} cannot be written: {bad.strerror or 'output error'}.", field=flag) from None
