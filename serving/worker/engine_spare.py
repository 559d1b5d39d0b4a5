"""The spare: a process that has imported all that an engine needs, and becomes one by forking when
it is told to.

Owns the imports, the kernels compiled meanwhile, and the fork. It holds no weights, no KV and no
device, so that it costs little memory beside an engine, which shares its pages. The door's `spare`
starts it and asks it; the copies run `engine_process.main`.

It sends one JSON object a packet: `{"step": ...}` while it imports, `{"ready": true}`, then for
each request `{"pid": ...}` or `{"errno": ...}`. A request is one packet with the engine's end of a
ipc.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable

from ...core.clock import MonotonicClock, sleep_s
from ..logs import log_to_stderr
from .importing import Importing
from .offspring import die_with_parent, show_as

READY = "ready"
_EVERY_NS = 250_000_000
_LOOK_S = 0.25


def main(argv: list[str]) -> int:
    """`argv`: number of the control socket, the door's pid, the executor's name, the precision to
    compile CPU kernels for or `none`, and the log's severity and form.

    Returns only in the copies, with the engine's exit code; the spare itself ends with its door.
    """
    control = socket.socket(fileno=int(argv[0]))
    door_pid, executor, compiled_for = int(argv[1]), argv[2], argv[3]
    log_to_stderr(argv[4], argv[5])
    die_with_parent()
    if os.getppid() != door_pid:
        return 0
    for number in (signal.SIGINT, signal.SIGTERM):  # they are for the door, which drains
        signal.signal(number, signal.SIG_IGN)
    try:
        engine_main = _prepare(_Reports(control), executor, compiled_for)
        # What is there now stays in the pages that the copies share: collecting would write to all
        # of them.
        gc.collect()
        gc.freeze()
        _send(control, {READY: True})
        copied = _copies(control, door_pid)
    except OSError:
        return 0  # the door is gone
    return 0 if copied is None else engine_main(copied)


def _copies(control: socket.socket, door_pid: int) -> list[str] | None:
    """Fork whenever the door asks; None when it is gone, and in an engine its arguments."""
    while True:
        request, fds, _, _ = socket.recv_fds(control, 64, 1)
        if not request:
            return None
        copied = _copy(control, fds[0], door_pid)
        if copied is not None:
            return copied


class _Reports:
    """Tells the door how far it is, four times a second at most."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._clock = MonotonicClock()
        self._sent_ns = 0
        self._step = ""

    def step(self, name: str) -> None:
        """A new step; told at once."""
        self._step, self._sent_ns = name, 0
        self.goes_on()

    def goes_on(self) -> None:
        """Something was done."""
        now_ns = self._clock.now_ns()
        if now_ns - self._sent_ns >= _EVERY_NS:
            self._sent_ns = now_ns
            _send(self._control, {"step": self._step})


def _prepare(reports: _Reports, executor: str, compiled_for: str) -> Callable[[list[str]], int]:
    """All that an engine imports; its kernels are compiled beside that."""
    reports.step("importing")
    compiling = _compiling(compiled_for)
    with Importing(reports.goes_on):
        from . import engine_process

        if executor == "torch":
            from ...model.text import tokenizer  # noqa: F401
            from . import torch_parts  # noqa: F401
    if compiling is not None:
        reports.step("compiling")
        while compiling.is_alive():  # the compiler has a time limit of its own
            compiling.join(_LOOK_S)
            reports.goes_on()
    return engine_process.main


def _compiling(precision: str) -> threading.Thread | None:
    """The CPU's kernels are in their cache when the engine looks; what keeps them from it the
    engine finds and says itself.
    """
    from ...kernels.native.build import CannotBuild, built
    from ...kernels.native.precisions import DEFINES, processor_asked

    defines, processor = DEFINES.get(precision), processor_asked()
    if defines is None or processor is None:
        return None

    def build() -> None:
        with contextlib.suppress(CannotBuild):
            built(defines, processor)

    thread = threading.Thread(target=build, name="compiling")
    thread.start()
    return thread


def _copy(control: socket.socket, ipc: int, door_pid: int) -> list[str] | None:
    """Fork an engine that is the door's child, not this process's; in the engine: its arguments.

    There is a process in between that ends at once, so that the door, which adopts, is the engine's
    parent: it reaps it, and its end is the engine's.
    """
    out, into = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        middle = os.fork()
    except OSError as error:
        for number in (out, into, ipc):
            os.close(number)
        _send(control, {"errno": error.errno})
        return None
    if middle == 0:
        os.close(out)
        return _copy_again(control, ipc, into, door_pid)
    os.close(into)
    os.close(ipc)
    with open(out, "rb") as said:
        answer = said.read()
    os.waitpid(middle, 0)
    _send(control, json.loads(answer) if answer else {"errno": 0})
    return None


def _copy_again(control: socket.socket, ipc: int, into: int, door_pid: int) -> list[str]:
    """The process in between; returns in the engine alone."""
    between = os.getpid()
    try:
        engine = os.fork()
    except OSError as error:
        os.write(into, json.dumps({"errno": error.errno}).encode())
        os._exit(1)
    if engine:
        os.write(into, json.dumps({"pid": engine}).encode())
        os._exit(0)
    os.close(into)
    control.close()
    show_as([sys.executable, "-P", "-m", f"{__package__}.engine_process", str(ipc)])
    while os.getppid() == between:
        sleep_s(0.001)
    die_with_parent()
    if os.getppid() != door_pid:
        os._exit(0)  # the door went in the meantime
    return [str(ipc)]


def _send(control: socket.socket, said: dict[str, object]) -> None:
    control.send(json.dumps(said).encode())


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
