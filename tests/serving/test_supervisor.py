"""Whatever an engine does instead of starting, it is killed and the next one takes over: real
processes, and the door's own middle.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from skipjoin.core.clock import MonotonicClock
from skipjoin.core.errors import ExecutorLost
from skipjoin.jobpool.memory import MemoryJobPool
from skipjoin.proto.frames import FromEngine, Starting, decode_from_engine
from skipjoin.serving import ipc
from skipjoin.serving.door import engines
from skipjoin.serving.door.claimed import ClaimedJobs
from skipjoin.serving.door.claims import Claims
from skipjoin.serving.door.engines import Engines
from skipjoin.serving.door.journal import Journal
from skipjoin.serving.door.patience import Patience
from skipjoin.serving.door.questions import Questions
from skipjoin.serving.door.store import Store
from skipjoin.serving.door.supervisor import Supervisor
from skipjoin.serving.settings import load_settings

FLAGS = {"executor": "simulated", "spare_engine": False, "job_pool": "memory"}
WAYS = (
    ("garbage", "sent what cannot be"),
    ("a frame without sense", "sent what cannot be"),
    ("a frame that never ends", "made no progress for 8 s while it was starting"),
    ("closes", "was killed by SIGKILL"),
    ("facts that are none", "sent what cannot be"),
    ("facts of something else", "sent what cannot be"),
    ("another incarnation", "sent what cannot be"),
    ("exits", "exited with code 9"),
    ("a fault of ours", "sent what cannot be"),
)


def _stumbles(message: bytes) -> FromEngine:
    """The door's reader, with a fault of its own for one frame."""
    frame = decode_from_engine(message)
    if isinstance(frame, Starting) and frame.step == "stumbling":
        raise OverflowError("a fault of the test")
    return frame


async def made(start_stall_s: float) -> tuple[Supervisor, Store, asyncio.Task[None]]:
    """A supervisor over an empty pool in memory, and its journal's task."""
    clock, table = MonotonicClock(), ClaimedJobs()
    store = await Store.open(MemoryJobPool)
    epoch = await store.call(lambda pool: pool.open_epoch("test"))
    journal = Journal(store, table, epoch, 1 << 20)
    claims = Claims(
        store, table, journal, clock, epoch, max_jobs=10, held_prompt_bytes=1 << 20, prompts_ahead_bytes=1 << 20
    )
    settings = load_settings(FLAGS)
    supervisor = Supervisor(
        settings.model_dump(mode="json"), Engines(settings), table, claims, journal, Questions(), clock,
        patience=Patience(5.0, start_stall_s, 5.0), max_backoff_s=0.1,
    )  # fmt: skip
    return supervisor, store, asyncio.create_task(journal.run())


@pytest.mark.parametrize(("how", "said"), WAYS, ids=[way for way, _ in WAYS])
def test_the_next_engine_takes_over_from_one_that(
    how: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(engines, "ENGINE_MODULE", "bad_engine")
    monkeypatch.setenv("PYTHONPATH", os.fspath(Path(__file__).parent))
    monkeypatch.setenv("BAD_ENGINE", how)
    monkeypatch.setattr(ipc, "decode_from_engine", _stumbles)
    monkeypatch.setenv("BAD_STARTS", os.fspath(tmp_path / "starts"))
    caplog.set_level("INFO")

    async def run() -> Sequence[int]:
        supervisor, store, journal = await made(8.0 if "no progress" in said else 60.0)
        lives: list[int] = []
        third = asyncio.Event()

        def changed(ready: bool) -> None:
            if ready:
                lives.append(supervisor.incarnation)
                if supervisor.incarnation == 1:
                    supervisor._child.kill()  # type: ignore[union-attr]
                else:
                    third.set()

        supervisor.on_change.append(changed)
        running = asyncio.create_task(supervisor.run())
        async with asyncio.timeout(60):
            await third.wait()
        await supervisor.stop()
        await running
        journal.cancel()
        await store.close()
        return lives

    assert asyncio.run(run()) == [1, 3]
    assert said in caplog.text
    assert "engine 3 took over" in caplog.text


def test_a_first_engine_that_cannot_be_started_is_a_typed_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines.sys, "executable", "/nowhere/python")

    async def run() -> None:
        supervisor, store, journal = await made(60.0)
        try:
            with pytest.raises(ExecutorLost, match="cannot be started: No such file or directory"):
                await supervisor.run()
        finally:
            journal.cancel()
            await store.close()

    asyncio.run(run())


def test_a_stop_while_an_engine_is_being_started_ends_that_too() -> None:
    async def run() -> None:
        supervisor, store, journal = await made(60.0)
        running = asyncio.create_task(supervisor.run())
        await asyncio.sleep(0)
        assert supervisor._child is None  # it is on its way
        await supervisor.stop()
        async with asyncio.timeout(5):
            await running
        assert supervisor._child is not None
        assert supervisor._child.ended
        assert not supervisor.ready
        journal.cancel()
        await store.close()

    asyncio.run(run())
