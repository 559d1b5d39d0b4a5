"""A process of a peer (or of ours, to be held against one), from its start to its end.

Owns the start in a session of its own, with its log, and the end of all that was started, on every way out: a guardian kills it where this process
is killed. It does not know what is said to it: `runner` talks to one over pipes, `server` to one over HTTP, both on top of this.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from ...core.errors import Unavailable
from ..guardian import Guardian
from .process import fate, kill_group


class Started:
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

    def check(self) -> None:
        """Raise Unavailable with its last words when it has ended."""
        if (code := self.process.poll()) is not None:
            raise Unavailable(f"{self.name} {self.fate(code)}")

    def fate(self, code: int | None) -> str:
        """How it ended, or (None) that it does not answer, with its last words."""
        return fate(code, self._log)

    def stop(self, *, gently: bool = False) -> None:
        """End it and what it started; `gently` asks first. Idempotent: its number may be another's afterwards."""
        if self._process is not None and not self._ended:
            self._ended = True
            try:
                kill_group(self._process, gently=gently)
            finally:
                if self._guardian is not None:
                    self._guardian.dismiss()
