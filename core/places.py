"""Whether a result can be written where somebody wants it, asked before the work that makes it.

Owns that question and its answer's words. It writes nothing, and a disk that fills up later is the writer's to tell; commands with a flag for a file
call it first.
"""

from __future__ import annotations

import os
from pathlib import Path

from .errors import InvalidInput


def place(name: str, flag: str) -> Path:
    """The file that `--flag` names, there already or not. Raises InvalidInput for a folder, and where nothing may be written."""
    path = Path(name)
    fits = os.access(path, os.W_OK) if path.exists() else path.parent.is_dir() and os.access(path.parent, os.W_OK)
    if path.is_dir() or not fits:
        raise InvalidInput(f"--{flag} {name} is no place to write a file.", field=flag)
    return path
