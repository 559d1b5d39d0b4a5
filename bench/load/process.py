"""A process that is measured and everything it started; and a server of our own as one.

Owns the start in a session of its own, with its log; pauses; and the end of all that was started,
on every way out: a guardian kills it where this process is killed. Of `skipjoin serve` it knows the
command line and the start line.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

from ...core.errors import Unavailable
from .guardian import Guardian

KILL_S = 10.0
LAST_LINES = 3
LONGEST_LINE = 300
LOOKED_AT = 1 << 16
"""Bytes at the end of a log in which the last lines are looked for."""
SHORT_OF_MEMORY = ("out of memory", "cannot allocate memory", "memoryerror", "bad_alloc")


class MeasuredProcess:
    """Ready when the `with` block begins; gone, with all it started, when it ends."""

    #: Whether standard input and output are pipes to us, else none and the log.
    piped = False
    #: For how long it is asked to end, each time; () kills it at once.
    patience_s: tuple[float, ...] = ()

    def __init__(self, name: str, words: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        """`name` stands in errors; what it says besides its answers goes to `log`."""
        self.name = name
        self._words = list(words)
        self._environment = dict(environment)
        self._log = log
        self._process: subprocess.Popen[str] | None = None
        self._guardian: Guardian | None = None
        self._ended = False

    def __enter__(self) -> Self:
        self.start()
        try:
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.stop()

    def _wait_until_ready(self) -> None:
        """Raise Unavailable for one that does not get there."""

    @property
    def process(self) -> subprocess.Popen[str]:
        assert self._process is not None, "started"
        return self._process

    @property
    def pid(self) -> int:
        """The process, and the session of all that it started."""
        return self.process.pid

    def start(self) -> None:
        """Raises Unavailable."""
        try:
            self._log.parent.mkdir(parents=True, exist_ok=True)
            self._guardian = Guardian()
            with self._log.open("w", encoding="utf-8") as log:
                self._process = subprocess.Popen(
                    self._words,
                    stdin=subprocess.PIPE if self.piped else subprocess.DEVNULL,
                    stdout=subprocess.PIPE if self.piped else log,
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
        """How it ended, or (None) that it does not answer; its last words; what to do."""
        how = "does not answer"
        if code is not None:
            how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
        words = last_words(self._log)
        advice = ""
        if code == -signal.SIGKILL or any(sign in words.lower() for sign in SHORT_OF_MEMORY):
            advice = " Memory was short, by all signs: end other programs, or take a smaller model or less KV."
        return f"{how}. Its last words: {words}.{advice}"

    def stop(self) -> int | None:
        """End it and what it started; its exit code, None when it never ran.

        Idempotent: its number may be another's afterwards.
        """
        if self._process is None:
            return None
        if not self._ended:
            self._ended = True
            try:
                kill_session(self._process, self.patience_s)
            finally:
                if self._guardian is not None:
                    self._guardian.dismiss()
        return self._process.returncode


def kill_session(process: subprocess.Popen[str], patience_s: Sequence[float] = ()) -> None:
    """Ask it to end, waiting so long each time, then kill it and what else is in its session.

    Ctrl-C during the asking hurries it.
    """
    try:
        for wait_s in patience_s:
            if process.poll() is None:
                process.terminate()
                with suppress(subprocess.TimeoutExpired):
                    process.wait(wait_s)
    finally:
        # Also when it has ended by itself: its children may not have.
        _signal(process.pid, signal.SIGKILL)
        with suppress(subprocess.TimeoutExpired):
            process.wait(KILL_S)
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with suppress(OSError):
                    stream.close()


def _signal(group: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def last_words(log: Path, lines: int = LAST_LINES) -> str:
    """The last lines of a log, on one line."""
    try:
        with log.open("rb") as stream:
            stream.seek(max(0, stream.seek(0, os.SEEK_END) - LOOKED_AT))
            text = stream.read().decode("utf-8", "replace")
    except OSError:
        text = ""
    told = [line.strip()[:LONGEST_LINE] for line in text.splitlines() if line.strip()]
    return " / ".join(told[-lines:]).rstrip(".") or "it said nothing"


PACKAGE = __package__.split(".")[0]
DRAIN_S = 3.0
END_S = 15.0
_GRPC = re.compile(r"gRPC (\S+:\d+)")
_HTTP = re.compile(r"HTTP (\S+:\d+)")


def own_environment() -> dict[str, str]:
    """The environment without settings of a server, which would change what is measured.

    Modules in the current folder are not imported.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SKIPJOIN_")}
    return {**kept, "PYTHONUNBUFFERED": "1", "PYTHONSAFEPATH": "1"}


def own_command(*words: str) -> list[str]:
    """The command line of `skipjoin WORDS...` with this interpreter."""
    return [sys.executable, "-m", f"{PACKAGE}.cli", *words]


def compute_threads() -> int:
    """Threads for an engine: all processors but one, for door and generator; 8 at most."""
    return max(1, min(8, len(os.sched_getaffinity(0)) - 1))


class OwnServer(MeasuredProcess):
    """A door and its engine. Asked twice, it drains first and hurries then."""

    piped = True
    patience_s = (DRAIN_S, END_S)

    def __init__(self, folder: Path, flags: Sequence[str], environ: Mapping[str, str] | None = None) -> None:
        """`flags` of serve besides addresses, admin socket and job pool, set here.

        `environ`: variables besides this process's.
        """
        words = own_command(
            *("serve", "--listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0"),
            *("--admin-socket", str(folder / "admin.sock"), "--job-pool", f"sqlite:{folder / 'jobs.sqlite'}"),
            *flags,
        )
        super().__init__("The server", words, own_environment() | dict(environ or {}), folder / "server.log")
        self.start_line = ""

    def _wait_until_ready(self) -> None:
        stdout = self.process.stdout
        assert stdout is not None, "piped"
        self.start_line = stdout.readline().strip()
        if not _GRPC.search(self.start_line):
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(END_S)
            raise Unavailable(f"The server did not start: {last_words(self._log, 1)}.")
        # What else it prints must not fill the pipe.
        threading.Thread(target=self._drain, daemon=True).start()

    def _drain(self) -> None:
        with suppress(ValueError, OSError):  # closed when the server was stopped
            for _ in self.process.stdout or ():
                pass

    @property
    def address(self) -> str:
        """HOST:PORT of gRPC."""
        found = _GRPC.search(self.start_line)
        assert found is not None, "without an address it would not have started"
        return found[1]

    @property
    def http_url(self) -> str | None:
        """http://HOST:PORT of the HTTP door; None when it has none."""
        found = _HTTP.search(self.start_line)
        return None if found is None else f"http://{found[1]}"
