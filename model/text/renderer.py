"""Renders conversations in a process that may die of it.

Owns the template's process: started when it is first needed, asked over two pipes, killed and
started again when a rendering takes too much time or memory. The caller gets a typed error then,
and nothing else is hurt. It does not know what a template says; template_process does. tokenizer
holds one renderer, from threads of the door or from `LLM`.

The process ends with its standard input, or by its own alarm, so it outlives neither this object
nor this process. It is not tied to the thread that started it (as the kernel's death signal would
be): a thread of a pool may go at any time.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import threading
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...core.clock import MonotonicClock
from ...core.errors import InvalidInput, SkipjoinError, Unavailable
from .template_frames import HEADER, Frame, Kind, frame_bytes

PROCESS_MODULE = f"{__package__}.template_process"
MOST_CHARACTERS = 2**24
_START_S = 60.0  # imports, on a machine that is busy
_PIECE = 2**16
_GOING = "The server is going down."


@dataclass(frozen=True, slots=True)
class RenderBounds:
    """What one rendering may take: seconds, and bytes of memory of its process."""

    time_s: float = 2.0
    memory_bytes: int = 200_000_000


class BeyondBounds(InvalidInput):
    """A rendering was ended; `setting` names the bound."""

    def __init__(self, message: str, setting: str, limit: str) -> None:
        super().__init__(message, field="messages", limit=limit)
        self.setting = setting


class RenderedTooLong(Exception):
    """The template makes more characters than were allowed."""


class _Ended(Exception):
    """The process is gone, or was late and killed."""

    def __init__(self, *, late: bool) -> None:
        super().__init__()
        self.late = late


class Renderer:
    """The renderings of one template, one at a time; thread-safe. `special` are the names of tokens
    that the template may use.
    """

    def __init__(self, source: str, special: Mapping[str, str], bounds: RenderBounds) -> None:
        self._bounds = bounds
        self._template = frame_bytes(
            Kind.TEMPLATE,
            json.dumps(
                {
                    "source": source,
                    "special": dict(special),
                    "time_s": bounds.time_s,
                    "memory_bytes": bounds.memory_bytes,
                }
            ).encode("ascii"),
        )
        self._clock = MonotonicClock()
        self._turn = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._broken: str | None = None  # why the template does not compile
        self._closed = False

    @property
    def waits_to_start(self) -> bool:
        """Whether there is no process, and there could be one."""
        running = self._process is not None and self._process.poll() is None
        return not running and self._broken is None and not self._closed

    def start(self) -> None:
        """Have the template compiled. Raises InvalidInput when it does not compile, or not within
        its bounds, Unavailable where `render` does.
        """
        with self._turn:
            self._ready_process()

    def render(self, messages: Sequence[Mapping[str, Any]], most_characters: int = MOST_CHARACTERS) -> str:
        """The prompt's text, up to where the answer begins.

        Raises InvalidInput when the template does not compile, refuses the conversation or goes
        beyond its bounds, RenderedTooLong when it makes more than `most_characters`, Unavailable
        when no process can be started, or it is killed from outside or by `close`.
        """
        # A message at a time, so that other threads come in between.
        listed = ", ".join([json.dumps(message) for message in messages])
        body = f'{{"messages": [{listed}], "most_characters": {most_characters}}}'.encode("ascii")
        with self._turn:
            process = self._ready_process()
            answer = self._ask(process, frame_bytes(Kind.CONVERSATION, body), self._bounds.time_s)
            if answer.kind is Kind.NO_MEMORY:
                self._end()
                raise self._beyond(late=False)
        if answer.kind is Kind.TEXT:
            return answer.body.decode("utf-8", "surrogatepass")
        if answer.kind is Kind.TOO_LONG:
            raise RenderedTooLong
        raise InvalidInput(f"The model's chat template {answer.body.decode()}", field="messages")

    def close(self) -> None:
        """End the process, and with it a rendering that goes on; idempotent."""
        self._closed = True
        if (process := self._process) is not None:
            process.kill()  # a caller that waits for its answer holds the turn
        with self._turn:
            self._end()

    def _ready_process(self) -> subprocess.Popen[bytes]:
        if self._process is not None and self._process.poll() is None:
            return self._process
        self._end()
        if self._closed:
            raise Unavailable(_GOING)
        if self._broken is not None:
            raise self._no_chat()
        try:
            process = subprocess.Popen(
                # -P: a module of the folder that the server was started in must not pass for one of
                # Python's.
                [sys.executable, "-P", "-m", PROCESS_MODULE],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                bufsize=0,
                start_new_session=True,  # Ctrl-C in a terminal is for the server
            )
        except OSError as error:
            raise Unavailable(f"No process for the chat template can be started now: {error.strerror}.") from None
        self._process = process
        self._finalizer = weakref.finalize(self, _kill, process)
        assert process.stdin is not None and process.stdout is not None
        os.set_blocking(process.stdin.fileno(), False)
        os.set_blocking(process.stdout.fileno(), False)
        if self._closed:  # `close` came before there was a process that it could end
            self._end()
            raise Unavailable(_GOING)
        answer = self._ask(process, self._template, _START_S, starting=True)
        if answer.kind is Kind.NO_MEMORY:
            self._end()
            raise self._beyond(late=False)
        if answer.kind is not Kind.READY:
            self._end()
            self._broken = answer.body.decode()
            raise self._no_chat()
        return process

    def _no_chat(self) -> InvalidInput:
        return InvalidInput(
            f"The model's chat template does not compile: {self._broken}. Send text or token ids.", field="messages"
        )

    def _beyond(self, *, late: bool) -> BeyondBounds:
        what, setting, limit = "time", "template_time_s", f"{self._bounds.time_s:g} s"
        if not late:
            what, setting, limit = "memory", "template_memory_bytes", f"{self._bounds.memory_bytes} bytes"
        return BeyondBounds(f"The model's chat template takes too much {what} for this conversation.", setting, limit)

    def _ask(
        self, process: subprocess.Popen[bytes], request: bytes, within_s: float, *, starting: bool = False
    ) -> Frame:
        """Write a request and read the answer. Raises BeyondBounds or Unavailable, with the process
        gone, when none comes in time.
        """
        until_ns = self._clock.now_ns() + int(within_s * 1e9)
        assert process.stdin is not None and process.stdout is not None
        try:
            self._write(process.stdin.fileno(), memoryview(request), until_ns)
            kind, length = HEADER.unpack(self._read(process.stdout.fileno(), HEADER.size, until_ns))
            return Frame(Kind(kind), self._read(process.stdout.fileno(), length, until_ns))
        except _Ended as ended:
            self._end()
            raise self._without_answer(process.returncode, late=ended.late, starting=starting) from None

    def _without_answer(self, status: int, *, late: bool, starting: bool) -> SkipjoinError:
        """Why a process gave no answer: only what the conversation itself did is the caller's."""
        if self._closed:
            return Unavailable(_GOING)
        if late and starting:  # a template that compiles for long is ended by the process' own clock, far earlier
            return Unavailable("The chat template's process takes too long to start; try again.")
        if late or status in (-signal.SIGALRM, -signal.SIGXCPU):
            return self._beyond(late=True)
        if status == -signal.SIGKILL:  # none of ours: the kernel's when the machine's memory is short, or an operator's
            return Unavailable("The chat template's process ended; try again.")
        return self._beyond(late=False)

    def _write(self, pipe: int, left: memoryview, until_ns: int) -> None:
        while left:
            self._wait(pipe, select.POLLOUT, until_ns)
            try:
                left = left[os.write(pipe, left[:_PIECE]) :]
            except BlockingIOError:
                continue
            except OSError:
                raise _Ended(late=False) from None

    def _read(self, pipe: int, size: int, until_ns: int) -> bytes:
        pieces: list[bytes] = []
        while size:
            self._wait(pipe, select.POLLIN, until_ns)
            try:
                piece = os.read(pipe, min(size, _PIECE))
            except BlockingIOError:
                continue
            if not piece:
                raise _Ended(late=False)
            pieces.append(piece)
            size -= len(piece)
        return b"".join(pieces)

    def _wait(self, pipe: int, what: int, until_ns: int) -> None:
        left_ms = (until_ns - self._clock.now_ns()) / 1e6
        poll = select.poll()
        poll.register(pipe, what)
        if left_ms <= 0 or not poll.poll(left_ms):
            raise _Ended(late=True)

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            self._finalizer.detach()
            _kill(process)


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End a process and reap it; it has nothing to save."""
    status = process.poll()
    if status is None:
        process.kill()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()
    process.wait()
