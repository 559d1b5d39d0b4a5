"""Children are reaped once, by us, and say how they ended."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from skipjoin.serving.door.child import Child
from skipjoin.serving.door.reserve import LENDABLE, Reserve


def on_a_loop(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """The test on an event loop of its own."""

    def run() -> None:
        asyncio.run(test())

    return run


SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]


@on_a_loop
async def test_a_killed_child_says_so_and_is_gone() -> None:
    child = Child.spawn(SLEEP)
    child.watch()
    heard: list[str] = []
    child.on_end.append(lambda: heard.append(child.said_of_end))
    assert not await child.wait(0.01)
    child.kill()
    assert await child.wait(10)
    child.kill()  # the number may be another process's by now: nothing is sent
    assert heard == ["was killed by SIGKILL"]
    assert not _is_child(child.pid)


@on_a_loop
async def test_an_exit_code_is_told() -> None:
    child = Child.spawn([sys.executable, "-c", "raise SystemExit(3)"])
    assert await child.wait(10)
    assert child.said_of_end == "exited with code 3"


@on_a_loop
async def test_many_ends_at_once_are_all_told_and_nothing_warns() -> None:
    children = [Child.spawn(SLEEP) for _ in range(8)]
    for child in children:
        child.watch()
        child.kill()
    await asyncio.gather(*(child.wait(20) for child in children))
    assert {child.said_of_end for child in children} == {"was killed by SIGKILL"}
    del children
    gc.collect()  # a Popen that was not reaped would warn now, which is an error


@on_a_loop
async def test_a_program_that_is_not_there_is_an_error_of_the_system() -> None:
    with pytest.raises(OSError, match="No such file"):
        Child.spawn(["/nowhere/python"])


def test_a_reserve_is_lent_and_taken_back() -> None:
    reserve = Reserve()
    before = len(os.listdir("/proc/self/fd"))
    with reserve.lent():
        assert len(os.listdir("/proc/self/fd")) == before - LENDABLE
    assert len(os.listdir("/proc/self/fd")) == before
    reserve.close()
    assert len(os.listdir("/proc/self/fd")) == before - LENDABLE


def _is_child(pid: int) -> bool:
    try:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True
