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
from ..link import EngineEnd, LinkClosed
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


def serve(link: EngineEnd, engine: Engine, clock: Clock, incarnation: int, pulse: Pulse) -> None:
    """Turn after turn until the door closes the link. Raises LinkClosed then, or what the turn
    raises.
    """
    turn = engine.turn
    while True:
        now_ns = clock.now_ns()
        engine.keep(now_ns)
        engine.ranks.keep(now_ns, link, incarnation)
        events = _events(link.drain(), incarnation)
        if not events and not turn.busy:
            due_ns = turn.next_due_ns()
            wait_ns = None if due_ns is None else due_ns - clock.now_ns()
            if wait_ns is None or wait_ns > 0:
                # Also without a job, so that one that hangs is noticed before a job comes to it.
                pulse.beat()
                link.wait(_WORD_NS if wait_ns is None else min(wait_ns, _WORD_NS))
                continue
        link.send(Effects(incarnation, turn.step(events)))


def _events(frames: list[FromDoor], incarnation: int) -> list[Event]:
    events: list[Event] = []
    for frame in frames:
        if isinstance(frame, StopAsked):
            raise LinkClosed("The door asked for the end.")
        if isinstance(frame, Events) and frame.incarnation == incarnation:
            events += frame.events
    return events


def _hello(link: EngineEnd) -> Hello:
    """The first frame."""
    while True:
        for frame in link.drain():
            if isinstance(frame, Hello):
                return frame
        link.wait(None)


def main(argv: list[str]) -> int:
    """Run on the socket whose number is the only argument; the exit code is 0 when the door ended
    it.
    """
    die_with_parent()
    # Ctrl-C and a group's SIGTERM go to the door, which drains; the link's end is this process's
    # signal.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    link = EngineEnd(socket.socket(fileno=int(argv[0])))
    clock = MonotonicClock()
    engine = None
    incarnation = 0
    try:
        hello = _hello(link)
        incarnation = hello.incarnation
        settings = ServeSettings.model_validate_json(hello.settings_json)
        log_to_stderr(settings.log_level, settings.log_format)
        pulse = Pulse(link, incarnation, clock)
        with Importing(pulse.beat):
            engine = build_engine(settings, incarnation, link, clock, pulse)
        pulse.ready()
        link.send(engine.facts.to_frame(incarnation, os.getpid()))
        serve(link, engine, clock, incarnation, pulse)
    except LinkClosed:
        return 0
    except SkipjoinError as error:
        return _failed(link, incarnation, error)
    except MemoryError:
        return _failed(link, incarnation, InternalError(OUT_OF_MEMORY))
    finally:
        if engine is not None:
            engine.close()
    return 0


def _failed(link: EngineEnd, incarnation: int, error: SkipjoinError) -> int:
    with contextlib.suppress(LinkClosed):
        link.send(failure_frame(incarnation, error))
    return EXIT_FAILED


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    # Threads of an executor that hangs must not keep a process alive that nobody listens to.
    os._exit(code)
