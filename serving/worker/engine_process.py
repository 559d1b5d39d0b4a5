"""The engine process: the turn and the executor, with no event loop and no gRPC.

Owns the loop drain, step, send, and the wait when there is nothing to do. It does not know clients
or stores. The supervisor starts it with the number of an inherited socket; it ends when that socket
does.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys

from ...core.clock import Clock, MonotonicClock
from ...core.errors import InternalError, SkipjoinError
from ...core.events import Event
from ...proto.frames import Effects, Events, FromDoor, Hello, StopAsked
from ..facts import failure_frame
from ..ipc import EngineEnd, IpcClosed
from ..logs import log_to_stderr
from ..settings import ServeSettings
from .engine_parts import Engine, build_engine
from .importing import Importing
from .offspring import die_with_parent
from .pulse import Pulse

_WORD_NS = 1_000_000_000
"""An engine with nothing to do, or with jobs none of which can run, says so about as often."""
EXIT_FAILED = 1
OUT_OF_MEMORY = (
    "The engine ran out of memory; give it less with --kv-tokens, --host-kv-tokens, --max-batch or --max-engine-jobs."
)


def serve(ipc: EngineEnd, engine: Engine, clock: Clock, incarnation: int, pulse: Pulse) -> None:
    """Turn after turn until the door closes the socket. Raises IpcClosed then, or what the turn
    raises.
    """
    turn = engine.turn
    while True:
        now_ns = clock.now_ns()
        engine.keep(now_ns)
        engine.ranks.keep(now_ns, ipc, incarnation)
        events = _events(ipc.drain(), incarnation)
        if not events and not turn.busy:
            due_ns = turn.next_due_ns()
            wait_ns = None if due_ns is None else due_ns - clock.now_ns()
            if wait_ns is None or wait_ns > 0:
                # Also without a job, so that one that hangs is noticed before a job comes to it.
                pulse.beat()
                ipc.wait(_WORD_NS if wait_ns is None else min(wait_ns, _WORD_NS))
                continue
        ipc.send(Effects(incarnation, turn.step(events)))


def _events(frames: list[FromDoor], incarnation: int) -> list[Event]:
    events: list[Event] = []
    for frame in frames:
        if isinstance(frame, StopAsked):
            raise IpcClosed("The door asked for the end.")
        if isinstance(frame, Events) and frame.incarnation == incarnation:
            events += frame.events
    return events


def _hello(ipc: EngineEnd) -> Hello:
    """The first frame."""
    while True:
        for frame in ipc.drain():
            if isinstance(frame, Hello):
                return frame
        ipc.wait(None)


def main(argv: list[str]) -> int:
    """Run on the socket whose number is the only argument; the exit code is 0 when the door ended
    it.
    """
    die_with_parent()
    # Ctrl-C and a group's SIGTERM go to the door, which drains; the socket's end is this process's
    # signal.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    ipc = EngineEnd(socket.socket(fileno=int(argv[0])))
    clock = MonotonicClock()
    engine = None
    incarnation = 0
    try:
        hello = _hello(ipc)
        incarnation = hello.incarnation
        settings = ServeSettings.model_validate_json(hello.settings_json)
        log_to_stderr(settings.log_level, settings.log_format)
        pulse = Pulse(ipc, incarnation, clock)
        with Importing(pulse.beat):
            engine = build_engine(settings, incarnation, ipc, clock, pulse)
        pulse.ready()
        ipc.send(engine.facts.to_frame(incarnation, os.getpid()))
        serve(ipc, engine, clock, incarnation, pulse)
    except IpcClosed:
        return 0
    except SkipjoinError as error:
        return _failed(ipc, incarnation, error)
    except MemoryError:
        return _failed(ipc, incarnation, InternalError(OUT_OF_MEMORY))
    finally:
        if engine is not None:
            engine.close()
    return 0


def _failed(ipc: EngineEnd, incarnation: int, error: SkipjoinError) -> int:
    with contextlib.suppress(IpcClosed):
        ipc.send(failure_frame(incarnation, error))
    return EXIT_FAILED


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    # Threads of an executor that hangs must not keep a process alive that nobody listens to.
    os._exit(code)
