"""Ended processes that the door adopted and did not start: a compiler's own children, when the
compiler was killed.

Owns their reaping. The door adopts grandchildren so that an engine is its child, and whatever else
loses its parent becomes one too; ended, each holds a number of the system until it is waited for.
It leaves alone what others wait for: `child.py` collects an end within a moment, so what lies there
at two looks in a row is waited for by none. The door asks it now and then.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

LOOK_S = 5.0
"""So far apart are two looks."""


class Orphans:
    """Those of this process; `reap` is a look. Where the system does not list children there are
    none.
    """

    def __init__(self) -> None:
        self._lay: frozenset[int] = frozenset()

    def reap(self) -> int:
        """Collect the ends of those that lay there at the last look as well; how many."""
        lie = _ended_children() if _any_ended() else frozenset()
        left = lie & self._lay
        for pid in left:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
        self._lay = lie - left
        return len(left)


def _any_ended() -> bool:
    try:
        return os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except (ChildProcessError, AttributeError):  # there is no child; or a system without this call
        return False


def _ended_children() -> frozenset[int]:
    listed = [word for task in Path("/proc/self/task").glob("*/children") for word in _read(task).split()]
    return frozenset(
        int(pid) for pid in listed if _read(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split()[:1] == ["Z"]
    )


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
