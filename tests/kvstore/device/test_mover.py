"""KV that travelled is byte-identical, and the check that says so catches a page that was freed too
early.
"""

from __future__ import annotations

import hashlib
import random
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from skipjoin.core.errors import ExecutorLost, InvalidInput, InvariantViolation
from skipjoin.core.plan import Direction, Move
from skipjoin.kernels.layout import KvLayout
from skipjoin.kvstore.device.mover import StreamMover, ThreadMover, mover_for, runs
from skipjoin.kvstore.device.pool import PagePools, PoolShape, page_bytes_view

torch.set_num_threads(1)
LAYOUT = KvLayout(layers=2, kv_heads=2, page_tokens=4, head_dim=8)
SECOND_NS = 10**9


def new_pools(pages=12, slots=16, dtype=torch.float32):
    pools = PagePools(LAYOUT, PoolShape(pages, slots, 4), torch.device("cpu"), dtype)
    torch.manual_seed(1)
    pools.device.copy_(torch.randn(pools.device.shape).to(dtype))
    return pools


def checksum(pool, pages):
    view = page_bytes_view(pool).numpy()
    return [hashlib.sha256(view[page].tobytes()).hexdigest() for page in pages]


def out_move(move_id, pages, slots):
    return Move(move_id, Direction.OUT, 1, np.array(pages, np.int32), np.array(slots, np.int32))


def in_move(move_id, pages, slots):
    return Move(move_id, Direction.IN, 1, np.array(pages, np.int32), np.array(slots, np.int32))


def wait_all(mover):
    ids = []
    while mover.in_flight:
        assert mover.wait_one(10 * SECOND_NS)
        ids += mover.landed()
    return ids


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_a_round_trip_changes_no_byte(dtype):
    pools = new_pools(dtype=dtype)
    mover = mover_for(pools)
    pages, slots, back = [7, 2, 3, 4, 0], [1, 9, 10, 11, 5], [4, 11, 10, 3, 8]
    before = checksum(pools.device, pages)
    mover.start(out_move(1, pages, slots))
    assert wait_all(mover) == [1]
    assert checksum(pools.host, slots) == before
    untouched = checksum(pools.device, [1, 6])
    pools.device[pages] = 0
    mover.start(in_move(2, back, slots))
    assert wait_all(mover) == [2]
    assert checksum(pools.device, back) == before
    assert checksum(pools.device, [1, 6]) == untouched
    mover.close()


def test_control_a_page_reused_before_its_copy_is_done_is_caught():
    """The planted fault: the page gets a new owner between the start of the move and its copy. The
    checksum must not agree.
    """
    pools = new_pools()
    mover = ThreadMover(pools)  # not launched: the copy cannot have begun
    before = checksum(pools.device, [3, 4])
    mover.start(out_move(1, [3, 4], [0, 1]))
    pools.device[4] = 123.0  # freed too early
    mover.launch()
    assert wait_all(mover) == [1]
    after = checksum(pools.host, [0, 1])
    assert after[0] == before[0]
    assert after[1] != before[1]
    mover.close()


def test_nothing_has_landed_before_its_copy():
    pools = new_pools()
    mover = ThreadMover(pools)
    assert not mover.wait_one(None), "with none in flight there is nothing to wait for"
    mover.start(out_move(5, [1], [1]))
    mover.start(out_move(6, [2], [2]))
    assert mover.in_flight == 2
    assert mover.landed() == ()
    assert not mover.wait_one(0)
    mover.launch()
    assert wait_all(mover) == [5, 6]
    assert mover.landed() == ()
    mover.close()
    mover.close()


def test_tickets_of_an_old_generation_are_void():
    pools = new_pools()
    mover = mover_for(pools)
    mover.start(out_move(1, [1], [1]))
    mover.start(out_move(2, [2], [2]))
    mover.void()
    assert mover.in_flight == 0
    assert mover.landed() == ()
    mover.start(out_move(1, [3], [3]))
    assert wait_all(mover) == [1]
    mover.close()


@pytest.mark.parametrize(
    "move",
    [
        out_move(1, [12], [0]),
        out_move(1, [-1], [0]),
        out_move(1, [0], [16]),
        out_move(1, [0, 1], [0]),
        out_move(1, [], []),
        in_move(1, [3, 3], [0, 1]),
        in_move(1, [3, 4], [1, 1]),
    ],
)
def test_a_move_beyond_the_pools_is_refused(move):
    pools = new_pools()
    mover = mover_for(pools)
    with pytest.raises(InvariantViolation):
        mover.start(move)
    assert mover.in_flight == 0
    mover.close()


def test_a_failed_copy_is_the_loss_of_the_executor():
    pools = new_pools()
    mover = ThreadMover(pools)
    mover.start(out_move(1, [1], [1]))
    mover._host = mover._host[:, :3]  # no longer fits: numpy refuses to copy
    mover.launch()
    with pytest.raises(ExecutorLost):
        mover.wait_one(10 * SECOND_NS)
    with pytest.raises(ExecutorLost):
        mover.landed()
    mover.close()


@given(st.lists(st.integers(0, 40), min_size=1, max_size=30, unique=True), st.integers(0, 99))
def test_runs_cover_every_pair_once_and_join_neighbours(sources, seed):
    targets = sorted(sources) if seed % 2 else random.Random(seed).sample(range(60), len(sources))
    pairs = list(zip(sources, targets, strict=True))
    found = list(runs(np.array(sources, np.int32), np.array(targets, np.int32)))
    assert [(s + i, t + i) for s, t, length in found for i in range(length)] == pairs
    for (s, t, length), (next_s, next_t, _) in pairwise(found):
        assert (s + length, t + length) != (next_s, next_t), "two runs that are one"


@given(st.data())
def test_random_moves_keep_every_page(data):
    """Pages wander between the pools at random, several moves in flight; at the end everyone's
    bytes are where the book says.
    """
    pools = new_pools(pages=10, slots=10)
    mover = mover_for(pools)
    place = {name: ("device", name) for name in range(10)}
    truth = {name: checksum(pools.device, [name])[0] for name in range(10)}
    for move_id in range(data.draw(st.integers(1, 12))):
        here = data.draw(st.sampled_from(["device", "host"]))
        there = "host" if here == "device" else "device"
        movable = [name for name, (pool, _) in place.items() if pool == here]
        if not movable:
            continue
        names = data.draw(st.lists(st.sampled_from(movable), min_size=1, unique=True))
        taken = {slot for pool, slot in place.values() if pool == there}
        free = [slot for slot in range(10) if slot not in taken]
        sources = [place[name][1] for name in names]
        targets = data.draw(st.permutations(free))[: len(names)]
        for name, slot in zip(names, targets, strict=True):
            place[name] = (there, slot)
        mover.start(out_move(move_id, sources, targets) if there == "host" else in_move(move_id, targets, sources))
        if data.draw(st.booleans()):
            wait_all(mover)
            # What was left may be overwritten now.
            for slot in sources:
                (pools.device if here == "device" else pools.host)[slot] = -1.0
    wait_all(mover)
    for name, (pool, slot) in place.items():
        assert checksum(pools.device if pool == "device" else pools.host, [slot])[0] == truth[name]
    mover.close()


@pytest.mark.parametrize("ask", [StreamMover.landed, lambda mover: mover.wait_one(None), StreamMover.void])
def test_a_device_that_fails_is_the_executors_loss_whatever_is_asked(ask):
    """CUDA tells of a failed copy at the next question about its fence."""

    class Broken:
        def query(self):
            raise RuntimeError("an illegal address")

        synchronize = query

    mover = StreamMover.__new__(StreamMover)  # its streams need a device, its fences do not
    mover._fences = {1: Broken()}
    with pytest.raises(ExecutorLost, match="Copying KV"):
        ask(mover)


@pytest.mark.parametrize(("pages", "slots", "page_tokens"), [(0, 1, 16), (1, -1, 16), (1, 1, 0), (1, 1, 2000)])
def test_impossible_pools(pages, slots, page_tokens):
    with pytest.raises(InvalidInput):
        PoolShape(pages, slots, page_tokens)


def test_a_pool_beyond_the_memory_is_the_users_error():
    with pytest.raises(InvalidInput, match="GiB"):
        PagePools(LAYOUT, PoolShape(2**40, 0, 4), torch.device("cpu"), torch.float32)


def test_a_pool_starts_zeroed_and_a_page_is_one_block():
    pools = PagePools(LAYOUT, PoolShape(3, 0, 4), torch.device("cpu"), torch.bfloat16)
    assert not pools.device.any()
    assert pools.page_bytes == 2 * 2 * 2 * 4 * 8 * 2
    assert page_bytes_view(pools.device).shape == (3, pools.page_bytes)
    assert page_bytes_view(pools.host).shape == (0, pools.page_bytes)
    assert pools.device[1].is_contiguous()
