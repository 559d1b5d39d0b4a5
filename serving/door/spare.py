"""The door's side of the spare: a process with an engine's imports done, from which engines are
forked.

Owns starting it, asking it for a copy, and noticing that it died or does not answer. It does not
know what an engine does; `engines` takes copies from it, and `engine_spare` is what runs there.
Where it cannot be had, engines are started from nothing.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from .. import worker
from ..settings import ServeSettings
from ..worker.engine_spare import READY
from ..worker.offspring import adopt_grandchildren
from .child import Child

SPARE_MODULE = f"{worker.__name__}.engine_spare"
ANSWER_S = 2.0
"""A spare that is ready forks in milliseconds."""


class Spare:
    """One spare process. `begin` needs no event loop, so that it can be importing while the door
    still does.
    """

    def __init__(self, child: Child, control: socket.socket) -> None:
        self._child = child
        self._control = control
        self._answers: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._news = asyncio.Event()
        self._deaf = False
        self.ready = False
        self.step = "starting"

    @classmethod
    def begin(cls, arguments: Sequence[str]) -> Spare | None:
        """Start one with `arguments` (see `engine_spare.main`); None where this system has no
        adoption of grandchildren. Raises OSError.
        """
        if not adopt_grandchildren():
            return None
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            # -P: a module of the folder that the server was started in must not pass for one of
            # Python's.
            command = [sys.executable, "-P", "-m", SPARE_MODULE, str(theirs.fileno()), str(os.getpid()), *arguments]
            # numpy's own threads would not survive the fork, and the engine has no use for them.
            child = Child.spawn(command, fds=[theirs.fileno()], environ={**os.environ, "OPENBLAS_NUM_THREADS": "1"})
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
        ours.setblocking(False)
        return cls(child, ours)

    def watch(self, on_end: Callable[[], None]) -> None:
        """Listen to it, on the running event loop; `on_end` is called when it is gone. Raises
        OSError.
        """
        self._child.watch()
        self._child.on_end += [self._close, on_end]
        asyncio.get_running_loop().add_reader(self._control.fileno(), self._read)

    @property
    def usable(self) -> bool:
        """Whether it may still be asked."""
        return not self._deaf and not self._child.ended

    @property
    def said_of_end(self) -> str:
        """How it ended, for the log."""
        return self._child.said_of_end

    async def copy(self, ipc: int, heard: Callable[[str], None]) -> int:
        """Fork an engine that inherits the socket `ipc`; its pid, a child of this process. `heard`
        is called with the step while it still imports.

        Raises OSError: with a number when it cannot fork now, without when it is gone or does not
        answer.
        """
        while not self.ready:
            await self._wait()
            heard(self.step)
        try:
            socket.send_fds(self._control, [b"copy"], [ipc])
            async with asyncio.timeout(ANSWER_S):
                while self._answers.empty():
                    await self._wait()
        except TimeoutError:
            raise OSError(0, f"the spare has not answered for {ANSWER_S:.0f} s") from None
        answer = self._answers.get_nowait()
        if "pid" not in answer:
            number = int(answer.get("errno") or 0)
            raise OSError(number, os.strerror(number) if number else "the spare failed")
        return int(answer["pid"])

    def kill(self) -> None:
        """End it. Engines forked from it go on."""
        self._child.kill()

    async def close(self) -> None:
        """End it and wait for that."""
        self.kill()
        await self._child.wait(5.0)
        self._close()

    async def _wait(self) -> None:
        """Until it has said something. Raises OSError when it never will."""
        if self.usable:
            self._news.clear()
            await self._news.wait()
        if not self.usable:
            raise OSError(0, f"the spare {self.said_of_end}")

    def _read(self) -> None:
        try:
            packet = self._control.recv(4096)
            word = json.loads(packet) if packet else None
        except BlockingIOError:
            return
        except (OSError, ValueError):
            word = None
        if not isinstance(word, dict):
            self._close()
        elif "step" in word:
            self.step = str(word["step"])
        elif word.get(READY):
            self.ready, self.step = True, READY
        else:
            self._answers.put_nowait(word)
        self._news.set()

    def _close(self) -> None:
        if not self._deaf:
            self._deaf = True
            asyncio.get_running_loop().remove_reader(self._control.fileno())
            self._control.close()
        self._news.set()


def spare_for(settings: ServeSettings) -> Spare | None:
    """Start a spare if the settings want one and the system can have one. Raises OSError."""
    if not settings.spare_engine:
        return None
    return Spare.begin([settings.executor, _compiled_for(settings), settings.log_level, settings.log_format])


def _compiled_for(settings: ServeSettings) -> str:
    """The precision whose CPU kernels the engine will look for, where that can be told without
    asking a driver: the spare must not touch a device.
    """
    if settings.executor != "torch":
        return "none"
    has_gpu = any(Path("/dev").glob("nvidia[0-9]*"))
    if settings.device != "cpu" and (settings.device != "auto" or has_gpu):
        return "none"
    dtype = "float32" if settings.dtype == "auto" else settings.dtype
    return dtype if dtype in ("float32", "float64") else "none"
