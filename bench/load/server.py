"""A server of our own to measure: `skipjoin serve` in processes of its own, started, found, ended.

Owns its files, which lie in a folder the caller gives, and its end on every way out; a guardian ends
it where this process is killed. It knows the command line and the start line, nothing inside.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from ...core.errors import Unavailable
from .guardian import Guardian

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
    """Threads for an engine: all processors but one, which door and generator share; at most 8, models are small."""
    return max(1, min(8, len(os.sched_getaffinity(0)) - 1))


class OwnServer:
    """Use it in a `with`: the server is ready when the block begins and gone when it ends, come what may."""

    def __init__(self, folder: Path, flags: Sequence[str], environ: Mapping[str, str] | None = None) -> None:
        """`flags` of serve besides addresses, admin socket and the (durable) job pool, which lie in `folder`.

        `environ`: variables besides this process's.
        """
        self._environ = dict(environ or {})
        self._folder = folder
        self._flags = [
            *("--listen", "127.0.0.1:0"),
            *("--http-listen", "127.0.0.1:0"),
            *("--admin-socket", str(folder / "admin.sock")),
            *("--job-pool", f"sqlite:{folder / 'jobs.sqlite'}"),
            *flags,
        ]
        self._process: subprocess.Popen[str] | None = None
        self._guardian: Guardian | None = None
        self._reader: threading.Thread | None = None
        self.start_line = ""

    def __enter__(self) -> Self:
        self._guardian = Guardian()
        with (self._folder / "server.log").open("w", encoding="utf-8") as log:
            self._process = subprocess.Popen(
                own_command("serve", *self._flags),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=own_environment() | self._environ,
            )
        try:
            # Without its door the engine ends by itself.
            self._guardian.watch(self._process.pid, group=False)
            assert self._process.stdout is not None
            self.start_line = self._process.stdout.readline().strip()
            if not _GRPC.search(self.start_line):
                self._process.wait(END_S)
                raise Unavailable(f"The server did not start: {self._last_words()}")
        except BaseException:
            self.stop()
            raise
        # What else it prints must not fill the pipe.
        self._reader = threading.Thread(target=self._process.stdout.read, daemon=True)
        self._reader.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """The door's process."""
        assert self._process is not None, "it has started"
        return self._process.pid

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

    def stop(self) -> int | None:
        """Drain it, hurry it, at last kill it; its exit code, None when it never ran. Idempotent."""
        process = self._process
        if process is None:
            return None
        try:
            self._end(process)
        finally:
            # Where Ctrl-C cut the wait short, the guardian ends the server when this process is gone.
            if self._guardian is not None and process.poll() is not None:
                self._guardian.dismiss()
        return process.returncode

    def _end(self, process: subprocess.Popen[str]) -> None:
        for number, patience_s in ((signal.SIGTERM, DRAIN_S), (signal.SIGTERM, END_S), (signal.SIGKILL, END_S)):
            if process.poll() is None:
                process.send_signal(number)
                try:
                    process.wait(patience_s)
                except subprocess.TimeoutExpired:
                    continue
        if self._reader is not None:
            self._reader.join(END_S)
        if process.stdout is not None:
            process.stdout.close()

    def _last_words(self) -> str:
        try:
            lines = (self._folder / "server.log").read_text(encoding="utf-8", errors="replace").strip().splitlines()
        except OSError:
            lines = []
        return lines[-1] if lines else "it said nothing."
