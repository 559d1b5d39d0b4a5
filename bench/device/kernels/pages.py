"""Contests of whole pages: gathered and scattered on the device, and moved to the host and back.

Every bit must arrive.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import count

import numpy as np
import torch
from torch import Tensor

from ....core.ids import Handle, MoveId
from ....core.plan import Direction, Move
from ....kernels import staging
from ....kvstore.device.mover import mover_for
from ....kvstore.device.pool import PagePools, PoolShape
from ..race import Contestant
from ..roofline import Work
from .contest import OURS, REFERENCE, Contest, Ground, exact_contest
from .scenario import Case
from .subject import Copy


def staging_contest(ground: Ground, case: Case) -> Contest:
    """Scattered pages into one buffer and from it back into a pool."""
    pages, layout = case.size, ground.layout(ground.model.layers)
    pool = ground.randn(*layout.pool_shape(2 * pages))
    wanted = torch.from_numpy(np.random.default_rng(0).permutation(2 * pages)[:pages]).to(ground.device)

    def contestant(name: str, gather: Copy, scatter: Copy) -> Contestant:
        buffer, target = pool.new_empty(pages, *pool.shape[1:]), torch.zeros_like(pool)

        def run() -> None:
            gather(pool, wanted, buffer)
            scatter(target, wanted, buffer)

        def result() -> Tensor:
            buffer.fill_(float("nan"))
            target.zero_()
            run()
            return torch.cat([buffer.double(), target.double()])

        return Contestant(name, run, result)

    def indexed(source: Tensor, at: Tensor, buffer: Tensor) -> None:
        buffer.copy_(source[at])

    def back(target: Tensor, at: Tensor, buffer: Tensor) -> None:
        target[at] = buffer

    def truth() -> Tensor:
        target = torch.zeros_like(pool)
        target[wanted] = pool[wanted]
        return torch.cat([pool[wanted].double(), target.double()])

    contestants = [
        contestant(OURS, ground.subject.gather, ground.subject.scatter),
        contestant(REFERENCE, staging.gather_pages, staging.scatter_pages),
        contestant("torch", indexed, back),
    ]
    return exact_contest(case, contestants, truth, Work(4 * pages * layout.page_bytes(ground.dtype)))


def move_contest(ground: Ground, case: Case, direction: Direction) -> Contest:
    """The executor's mover beside a page by page copy, one move of scattered pages at a time.

    CUDA's host memory is pinned for both.
    """
    device, pages, layout = ground.device, case.size, ground.layout(ground.model.layers)
    shape = PoolShape(2 * pages, 2 * pages, ground.model.page_tokens)
    pools = PagePools(layout, shape, device, ground.dtype)
    random = np.random.default_rng(0)
    on_device, on_host = (random.permutation(2 * pages)[:pages].astype(np.int32) for _ in range(2))
    ends = [(pools.device, on_device), (pools.host, on_host)]
    (source, from_at), (target, to_at) = ends if direction is Direction.OUT else ends[::-1]
    source.copy_(torch.randn(source.shape, dtype=ground.dtype))
    mover, numbers = mover_for(pools), count(1)

    def move() -> None:
        mover.start(Move(MoveId(next(numbers)), direction, Handle(0), on_device, on_host))
        while not mover.landed():
            mover.wait_one(None)

    def one_by_one() -> None:
        for start, end in zip(from_at.tolist(), to_at.tolist(), strict=True):
            target[end].copy_(source[start], non_blocking=True)
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    def contestant(name: str, run: Callable[[], None]) -> Contestant:
        def result() -> Tensor:
            target.zero_()
            run()
            return target[torch.from_numpy(to_at).to(target.device)].double().cpu()

        return Contestant(name, run, result, graphable=False)

    def truth() -> Tensor:
        return source[torch.from_numpy(from_at).to(source.device)].double().cpu()

    size, way = pages * layout.page_bytes(ground.dtype), direction.name.lower()
    work = Work(2 * size) if device.type == "cpu" else Work(0, 0, way, size)
    made = exact_contest(case, [contestant(OURS, move), contestant(REFERENCE, one_by_one)], truth, work)
    return replace(made, name=f"{case.name} {way}", close=mover.close)
