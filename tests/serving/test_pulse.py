"""An engine's own reports: because something was done, and not too often."""

from __future__ import annotations

import socket

from skipjoin.core.clock import ManualClock
from skipjoin.proto.frames import Beat, FrameReader, FromEngine, Starting, decode_from_engine
from skipjoin.serving.ipc import EngineEnd, ipc_pair
from skipjoin.serving.worker.pulse import Pulse

QUARTER = 250_000_000


def test_steps_are_told_at_once_and_progress_four_times_a_second() -> None:
    door, engine = ipc_pair()
    clock = ManualClock(10**9)
    with door, engine:
        pulse = Pulse(EngineEnd(engine), 7, clock)
        pulse.step("loading its weights")
        for done in range(1, 9):
            clock.advance(QUARTER // 4)
            pulse.advanced(done, 8)
        pulse.step("making room for KV")
        pulse.beat()
        clock.advance(QUARTER)
        pulse.beat()
        pulse.ready()
        clock.advance(QUARTER)
        pulse.beat()
        pulse.beat()
        assert _frames(door) == [
            Starting(7, "loading its weights"),
            Starting(7, "loading its weights", 4, 8),
            Starting(7, "loading its weights", 8, 8),
            Starting(7, "making room for KV"),
            Starting(7, "making room for KV"),
            Beat(7, 1, clock.now_ns()),
        ]


def test_where_nobody_listens_nothing_is_sent() -> None:
    pulse = Pulse(None, 1, ManualClock(10**9))
    pulse.step("loading its weights")
    pulse.advanced(1, 2)
    pulse.ready()
    pulse.beat()


def _frames(door: socket.socket) -> list[FromEngine]:
    return [decode_from_engine(frame) for frame in FrameReader().feed(door.recv(1 << 16))]
