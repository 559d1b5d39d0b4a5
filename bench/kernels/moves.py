"""Contests of whole pages: gathered and scattered on the device, and moved to the host and back.

Owns the pools and which pages go. Every bit must arrive, so nothing here may differ at all. It knows no clock; `study` calls both makers.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

import numpy as np
import torch
from torch import Tensor

from ...core.ids import Handle, MoveId
from ...core.plan import Direction, Move
from ...kernels import staging
from ...kernels.layout import KvLayout
from ...kvstore.device.mover import mover_for
from ...kvstore.device.pool import PagePools, PoolShape
from .contest import OURS, REFERENCE, Contest, Contestant, Work
from .scenario import Case, ModelShape
from .subject import Copy, Subject


def staging_contest(
    case: Case, model: ModelShape, subject: Subject, device: torch.device, dtype: torch.dtype
) -> Contest:
    """Scattered pages into one buffer and from it back into a pool."""
    pages = case.pages or 1
    layout = KvLayout(model.layers, model.kv_heads, model.page_tokens, model.head_dim)
    pool = torch.randn(layout.pool_shape(2 * pages), device=device, dtype=dtype)
    chosen = torch.from_numpy(np.random.default_rng(0).permutation(2 * pages)[:pages]).to(device)

    def contestant(name: str, gather: Copy, scatter: Copy) -> Contestant:
        buffer, target = pool.new_empty(pages, *pool.shape[1:]), torch.zeros_like(pool)

        def run() -> None:
            gather(pool, chosen, buffer)
            scatter(target, chosen, buffer)

        def result() -> Tensor:
            buffer.fill_(float("nan"))
            target.zero_()
            run()
            return torch.cat([buffer.double(), target.double()])

        return Contestant(name, run, result)

    def indexed(source: Tensor, wanted: Tensor, buffer: Tensor) -> None:
        buffer.copy_(source[wanted])

    def back(target: Tensor, wanted: Tensor, buffer: Tensor) -> None:
        target[wanted] = buffer

    def truth() -> Tensor:
        target = torch.zeros_like(pool)
        target[chosen] = pool[chosen]
        return torch.cat([pool[chosen].double(), target.double()])

    contestants = (
        contestant(OURS, subject.gather, subject.scatter),
        contestant(REFERENCE, staging.gather_pages, staging.scatter_pages),
        contestant("torch", indexed, back),
    )
    return Contest(case.name, case.kernel, contestants, truth, None, Work(4 * pages * layout.page_bytes(dtype)))


def move_contest(
    case: Case, model: ModelShape, device: torch.device, dtype: torch.dtype, direction: Direction
) -> Contest:
    """The executor's mover, one move of scattered pages at a time, beside a page by page copy; CUDA's host memory is pinned for both."""
    pages = case.pages or 1
    layout = KvLayout(model.layers, model.kv_heads, model.page_tokens, model.head_dim)
    pools = PagePools(layout, PoolShape(2 * pages, 2 * pages, model.page_tokens), device, dtype)
    random = np.random.default_rng(0)
    ours, theirs = (random.permutation(2 * pages)[:pages].astype(np.int32) for _ in range(2))
    out = direction is Direction.OUT
    source, target = (pools.device, pools.host) if out else (pools.host, pools.device)
    from_at, to_at = (ours, theirs) if out else (theirs, ours)
    source.copy_(torch.randn(source.shape, dtype=dtype))
    mover, numbers = mover_for(pools), count(1)

    def move() -> None:
        mover.start(Move(MoveId(next(numbers)), direction, Handle(0), ours, theirs))
        while not mover.landed():
            mover.wait_one(None)

    def one_by_one() -> None:
        for start, end in zip(from_at.tolist(), to_at.tolist(), strict=True):
            target[end].copy_(source[start], non_blocking=True)
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    def result_of(run: Callable[[], None]) -> Callable[[], Tensor]:
        def result() -> Tensor:
            target.zero_()
            run()
            return target[torch.from_numpy(to_at).to(target.device)].double().cpu()

        return result

    def truth() -> Tensor:
        return source[torch.from_numpy(from_at).to(source.device)].double().cpu()

    contestants = (
        Contestant(OURS, move, result_of(move), graphable=False),
        Contestant(REFERENCE, one_by_one, result_of(one_by_one), graphable=False),
    )
    size = pages * layout.page_bytes(dtype)
    work = Work(2 * size) if device.type == "cpu" else Work(0, 0, direction.name.lower(), size)
    return Contest(
        f"{case.name} {direction.name.lower()}", case.kernel, contestants, truth, None, work, close=mover.close
    )
