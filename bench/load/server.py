"""A server of our own to measure: `skipjoin serve` in processes of its own, started, found, ended.

It knows the command line and the start line, nothing inside. Its files lie in a folder the caller
gives.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from ...core.errors import Unavailable
from .process import MeasuredProcess, last_words

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
