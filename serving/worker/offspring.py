"""What a process of ours does to end with the one that it belongs to, and to be told apart from the
others.

Owns the calls to Linux for that: death signal of the parent, adoption of grandchildren, command
line. Elsewhere they do nothing, and the end of a socket tells of the parent's. Engine and spare
call them, and the door adopts.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_ARG_START = 48
"""Number of the field arg_start in /proc/self/stat; arg_end is the next one."""


def die_with_parent() -> None:
    """Linux kills this process when its parent ends, even while it computes; elsewhere the end of
    the socket does, a turn later.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def adopt_grandchildren() -> bool:
    """Let processes whose parent ends become children of this one instead of the system's first
    process; whether that can be had.
    """
    if sys.platform != "linux":
        return False
    return bool(ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0)


def show_as(words: list[str]) -> None:
    """Make `words` what the system shows as this process's command line, as far as there is room in
    the one it was started with.
    """
    if sys.platform != "linux":
        return
    try:
        fields = (
            Path("/proc/self/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        )  # from the third field on
        start, end = (int(fields[at - 3]) for at in (_ARG_START, _ARG_START + 1))
    except (OSError, ValueError, IndexError):
        return
    room = end - start
    if start <= 0 or room <= 0:
        return
    shown = b"\0".join(os.fsencode(word) for word in words)[: room - 1]
    ctypes.memmove(start, shown.ljust(room, b"\0"), room)
