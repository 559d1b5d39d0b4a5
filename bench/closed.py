"""Closed-loop load: so many clients, each of which asks again as soon as it is answered.

Owns the clients. It does not know the wire; a `Target` does. The answers come as those of the open loop (bench/load); a request arrives when its
client sends it, so throughput is what to read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np

from ..core.clock import Clock
from ..workload.requests import Workload
from .load import Ended, LiveRun
from .target import Answered, Asked, Target


async def circulate(
    target: Target,
    workload: Workload,
    requests: Sequence[Asked],
    clock: Clock,
    *,
    clients: int,
    ended: Ended | None = None,
) -> LiveRun:
    """Have `clients` send all requests in order; leaving early (Ctrl-C) ends those that are open."""
    policy = await target.policy()
    moved_before = await target.bytes_moved()
    sent_ns = np.zeros(len(requests), dtype=np.int64)
    answers: dict[int, Answered] = {}
    waiting = iter(requests)

    async def client() -> None:
        for asked in waiting:
            sent_ns[asked.number] = clock.now_ns()
            answers[asked.number] = await target.ask(asked)
            if ended is not None:
                ended(1)

    async with asyncio.TaskGroup() as group:
        for _ in range(min(clients, len(requests))):
            group.create_task(client())
    moved_after = await target.bytes_moved()
    moved = None if moved_before is None or moved_after is None else moved_after - moved_before
    return LiveRun(workload, sent_ns, sent_ns, tuple(answers[at] for at in range(len(requests))), moved, policy)
