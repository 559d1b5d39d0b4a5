"""A process of a peer (or of ours, to be held against one), and everything it started.

Owns the start in a session of its own, with its log; pauses; and the end of all that was started, on
every way out: a guardian kills it where this process is killed. It does not know what is said to it:
`runner` talks to one over pipes, `server` to one over HTTP.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from ...core.errors import Unavailable
from ..load.guardian import Guardian

PATIENCE_S = 10.0
LAST_LINES = 3
LONGEST_LINE = 300
LOOKED_AT = 1 << 16
"""Bytes at the end of a log in which the last lines are looked for."""
SHORT_OF_MEMORY = ("out of memory", "cannot allocate memory", "memoryerror", "bad_alloc")


class PeerProcess:
    """`name` stands in errors, `words` is the command, what it says besides its answers goes to `log`."""

    def __init__(self, name: str, words: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        self.name = name
        self._words = list(words)
        self._environment = dict(environment)
        self._log = log
        self._process: subprocess.Popen[str] | None = None
        self._guardian: Guardian | None = None
        self._ended = False

    @property
    def process(self) -> subprocess.Popen[str]:
        """It, once it was started."""
        assert self._process is not None, "started"
        return self._process

    @property
    def pid(self) -> int:
        """The process, and the session of all that it started."""
        return self.process.pid

    def start(self, *, piped: bool) -> None:
        """Start it; `piped`: standard input and output are pipes to us, else none and the log. Raises Unavailable."""
        try:
            self._log.parent.mkdir(parents=True, exist_ok=True)
            self._guardian = Guardian()
            with self._log.open("w", encoding="utf-8") as log:
                self._process = subprocess.Popen(
                    self._words,
                    stdin=subprocess.PIPE if piped else subprocess.DEVNULL,
                    stdout=subprocess.PIPE if piped else log,
                    stderr=log,
                    text=True,
                    env=self._environment,
                    start_new_session=True,
                )
            self._guardian.watch(self._process.pid, group=True)
        except OSError as bad:
            if self._guardian is not None:
                self._guardian.dismiss()
            raise Unavailable(f"{self.name} cannot be started: {bad.strerror} ({bad.filename}).") from None

    def pause(self) -> None:
        """Give its session no processor until `resume`."""
        _signal(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on; nothing for one that runs."""
        _signal(self.pid, signal.SIGCONT)

    def check(self) -> None:
        """Raise Unavailable with its last words when it has ended."""
        if (code := self.process.poll()) is not None:
            raise Unavailable(f"{self.name} {self.fate(code)}")

    def fate(self, code: int | None) -> str:
        """How it ended, or (None) that it does not answer: a clause with its last words, and what to do."""
        how = "does not answer"
        if code is not None:
            how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
        words = last_words(self._log)
        advice = ""
        if code == -signal.SIGKILL or any(sign in words.lower() for sign in SHORT_OF_MEMORY):
            advice = " Memory was short, by all signs: end other programs, or take a smaller model or less KV."
        return f"{how}. Its last words: {words}.{advice}"

    def stop(self, *, gently: bool = False) -> None:
        """End it and what it started; `gently` asks first. Idempotent: its number may be another's afterwards."""
        if self._process is not None and not self._ended:
            self._ended = True
            try:
                kill_group(self._process, gently=gently)
            finally:
                if self._guardian is not None:
                    self._guardian.dismiss()


def kill_group(process: subprocess.Popen[str], *, gently: bool = False) -> None:
    """End it and what else is in its session; `gently` asks first. Ctrl-C during the asking hurries it."""
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


def _signal(group: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


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
