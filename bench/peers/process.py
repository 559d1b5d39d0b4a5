"""A process of somebody else's, and everything it started.

Owns their pauses, their end, and the words for how one ended too early. It knows no peer; `install` and `started` start processes in sessions of
their own and end them here.
"""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

PATIENCE_S = 10.0
LAST_LINES = 3
LONGEST_LINE = 300
LOOKED_AT = 1 << 16
"""Bytes at the end of a log in which the last lines are looked for: a server under load may have written a lot."""


def kill_group(process: subprocess.Popen[str], *, gently: bool = False) -> None:
    """End it and whatever else is in its session; `gently` asks first. Whoever interrupts the asking hurries it."""
    try:
        if gently and process.poll() is None:
            _signal(process.pid, signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                process.wait(PATIENCE_S)
    finally:
        # Also when it has ended by itself: its children may not have.
        _signal(process.pid, signal.SIGKILL)
        with suppress(subprocess.TimeoutExpired):
            process.wait(PATIENCE_S)
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with suppress(OSError):
                    stream.close()


def stop_group(process: subprocess.Popen[str]) -> None:
    """Give it and whatever else is in its session no processor, until `resume_group`."""
    _signal(process.pid, signal.SIGSTOP)


def resume_group(process: subprocess.Popen[str]) -> None:
    """Let a stopped session go on; nothing for one that runs."""
    _signal(process.pid, signal.SIGCONT)


def _signal(group: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def fate(code: int | None, log: Path) -> str:
    """How it ended and what it said last: a clause for an error, with what to do when memory was short."""
    words = last_words(log)
    if code is None:
        how = "does not answer"
    elif code < 0:
        how = f"was killed by signal {-code}"
    else:
        how = f"ended with code {code}"
    starved = code == -signal.SIGKILL or any(
        sign in words.lower() for sign in ("out of memory", "cannot allocate memory", "memoryerror", "bad_alloc")
    )
    advice = (
        " Memory was short, by all signs: end other programs, or take a smaller model or less KV." if starved else ""
    )
    return f"{how}. Its last words: {words}.{advice}"


def last_words(log: Path) -> str:
    """The last lines of a log, on one line."""
    try:
        with log.open("rb") as stream:
            stream.seek(max(0, stream.seek(0, os.SEEK_END) - LOOKED_AT))
            told = stream.read().decode("utf-8", "replace")
    except OSError:
        told = ""
    lines = [line.strip() for line in told.splitlines() if line.strip()]
    return " / ".join(line[:LONGEST_LINE] for line in lines[-LAST_LINES:]).rstrip(".") or "it said nothing"
