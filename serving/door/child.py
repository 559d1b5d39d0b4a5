"""A process that the door started, from its start to the moment it is reaped.

Owns waiting for its end, killing it and the words for how it ended. It does not know what the
process does. The door's engine and spare are such processes. Reaping happens in one place, on the
event loop, so that a signal can never reach another process that got the same number, and nobody
else collects the end first: asyncio's and subprocess' own ways race with each other, and the loser
reports an unknown child.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence


class Child:
    """A child of this process. Made by `spawn`, or from the number of one that became a child;
    `watch` it on the event loop at once.
    """

    def __init__(self, pid: int, popen: subprocess.Popen[bytes] | None = None) -> None:
        self.pid = pid
        self._popen = popen
        self._status: int | None = None
        self._ended: asyncio.Event | None = None
        self.on_end: list[Callable[[], None]] = []

    @classmethod
    def spawn(cls, argv: Sequence[str], *, fds: Sequence[int] = (), environ: Mapping[str, str] | None = None) -> Child:
        """Start a program that inherits standard output, standard error and `fds`. Raises OSError."""
        popen = subprocess.Popen(list(argv), stdin=subprocess.DEVNULL, pass_fds=tuple(fds), env=environ)
        return cls(popen.pid, popen)

    def watch(self) -> None:
        """Notice its end from now on. Raises OSError when there is no thread to be had; the child
        is then killed and reaped.
        """
        self._ended = asyncio.Event()
        loop = asyncio.get_running_loop()
        try:
            threading.Thread(target=self._wait, args=(loop,), name=f"child-{self.pid}", daemon=True).start()
        except RuntimeError as error:
            os.kill(self.pid, signal.SIGKILL)
            self._reap()
            raise OSError(0, "no thread can be started") from error

    @property
    def ended(self) -> bool:
        """Whether it is gone and reaped."""
        return self._status is not None

    @property
    def said_of_end(self) -> str:
        """How it ended, for a log line: `was killed by SIGKILL`, `exited with code 1`."""
        if self._status is None:
            return "runs"
        if self._status >= 0:
            return f"exited with code {self._status}"
        try:
            return f"was killed by {signal.Signals(-self._status).name}"
        except ValueError:
            return f"was killed by signal {-self._status}"

    def kill(self) -> None:
        """SIGKILL, unless it is gone."""
        if self._status is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    async def wait(self, patience_s: float | None = None) -> bool:
        """Wait for its end, at most `patience_s`; whether it has ended."""
        if self._ended is None:
            self.watch()
        assert self._ended is not None, "watch() made it"
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience_s):
                await self._ended.wait()
        return self.ended

    def _wait(self, loop: asyncio.AbstractEventLoop) -> None:
        """On a thread of its own: it waits, and leaves the reaping to the loop."""
        with contextlib.suppress(ChildProcessError):
            os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
        with contextlib.suppress(RuntimeError):  # the loop is closed: this process ends too
            loop.call_soon_threadsafe(self._over)

    def _over(self) -> None:
        self._reap()
        assert self._ended is not None, "watch() made it"
        self._ended.set()
        for listener in self.on_end:
            listener()

    def _reap(self) -> None:
        if self._status is not None:
            return
        try:
            self._status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        except ChildProcessError:
            self._status = 255
        if self._popen is not None:
            self._popen.returncode = self._status
