"""The socket between door and engine: order, bounds, and what both ends see when the other dies."""

from __future__ import annotations

import asyncio
import threading

import numpy as np
import pytest

from skipjoin.core.asked import Asked
from skipjoin.core.effects import TokensEmitted, TurnEffects, TurnStats
from skipjoin.core.events import CancelRequested, Submitted
from skipjoin.core.ids import Handle
from skipjoin.core.sampling import SamplingParams
from skipjoin.proto.frames import Effects, Events, Hello, Launched
from skipjoin.serving.ipc import DoorEnd, EngineEnd, IpcClosed, ipc_pair


def _turn(seq: int, tokens: int = 3) -> TurnEffects:
    column = np.arange(tokens)
    stats = TurnStats(seq, 5, 1, 0, 1, 9, 0, 0, 10, None, None)
    return TurnEffects(stats, TokensEmitted(column, column.astype(np.int32), column.astype(np.int32)))


def test_frames_arrive_whole_and_in_order_both_ways() -> None:
    async def door() -> list[object]:
        end = await DoorEnd.open(ours)
        await end.send(Hello(1, "{}"))
        big = Submitted(
            Handle(1), 100_000, Asked(SamplingParams(seed=1, max_new_tokens=1)), 0, prompt=np.zeros(100_000, np.int32)
        )
        await asyncio.gather(*(end.send(Events(1, (big, CancelRequested(Handle(i))))) for i in range(20)))
        got: list[object] = []
        while (frame := await end.receive()) is not None:
            got.append(frame)
        end.close()
        return got

    heard: list[object] = []

    def engine() -> None:
        end = EngineEnd(theirs)
        while len(heard) < 21:
            heard.extend(end.drain())
            end.wait(1_000_000)
        for seq in range(200):
            end.send(Launched(1, frozenset({seq})))
            end.send(Effects(1, _turn(seq, 500)))
        theirs.close()

    ours, theirs = ipc_pair()
    thread = threading.Thread(target=engine)
    thread.start()
    got = asyncio.run(door())
    thread.join()
    assert isinstance(heard[0], Hello)
    asked = [frame.events[1].handle for frame in heard[1:] if isinstance(frame, Events)]  # type: ignore[union-attr]
    assert asked == list(range(20))
    assert [frame.effects.stats.seq for frame in got if isinstance(frame, Effects)] == list(range(200))
    assert [set(frame.handles) for frame in got if isinstance(frame, Launched)] == [{i} for i in range(200)]


def test_the_engine_sees_the_door_go() -> None:
    ours, theirs = ipc_pair()
    end = EngineEnd(theirs)
    assert end.drain() == []
    ours.close()
    with pytest.raises(IpcClosed):
        end.drain()
    with pytest.raises(IpcClosed):
        end.send(Launched(1, frozenset()))
    theirs.close()


def test_the_door_reads_what_a_dead_engine_left_and_drops_the_cut_off_rest() -> None:
    async def door() -> list[int]:
        end = await DoorEnd.open(ours)
        seqs = []
        while isinstance(frame := await end.receive(), Effects):
            seqs.append(frame.effects.stats.seq)
        with pytest.raises(IpcClosed):
            await _send_often(end)
        end.close()
        return seqs

    ours, theirs = ipc_pair()
    engine = EngineEnd(theirs)
    engine.send(Effects(1, _turn(1)))
    engine.send(Effects(1, _turn(2)))
    theirs.sendall(b"\xff\x00\x00\x00half a frame")
    theirs.close()
    assert asyncio.run(door()) == [1, 2]


async def _send_often(end: DoorEnd) -> None:
    """The first writes to a closed socket may still be taken."""
    for _ in range(3):
        await end.send(Events(1, ()))


def test_a_wait_ends_at_news_or_at_its_bound() -> None:
    ours, theirs = ipc_pair()
    end = EngineEnd(theirs)
    end.wait(1_000_000)
    ours.sendall(b"x")
    end.wait(None)  # returns because there is something; a test that hangs here fails by its time limit
    ours.close()
    theirs.close()
