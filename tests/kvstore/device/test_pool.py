"""Pools: zeroed, aligned, refused by name, and not written to before a job comes."""

from __future__ import annotations

import resource

import pytest
import torch

from skipjoin.core.errors import InvalidInput
from skipjoin.kernels.layout import KvLayout
from skipjoin.kvstore.device.pool import PagePools, PoolShape

LAYOUT = KvLayout(layers=2, kv_heads=2, page_tokens=16, head_dim=64)
CPU = torch.device("cpu")


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_both_pools_are_zero_and_aligned(dtype: torch.dtype) -> None:
    pools = PagePools(LAYOUT, PoolShape(7, 5), CPU, dtype)
    for pool, pages in ((pools.device, 7), (pools.host, 5)):
        assert pool.shape == LAYOUT.pool_shape(pages)
        assert pool.dtype is dtype
        assert pool.is_contiguous()
        assert pool.data_ptr() % 64 == 0
        assert not pool.any()
        pool += 1
        assert pool.all()


def test_a_pool_without_host_pages() -> None:
    assert PagePools(LAYOUT, PoolShape(1, 0), CPU, torch.float32).host.numel() == 0


def test_memory_is_taken_when_it_is_used() -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    pages = (2 << 30) // LAYOUT.page_bytes(torch.float32)
    pools = PagePools(LAYOUT, PoolShape(pages, 0), CPU, torch.float32)
    pools.device[pages // 2] = 1
    grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown_kib < 64 << 10


def test_what_cannot_be_had_is_refused_by_name() -> None:
    with pytest.raises(InvalidInput, match="could not be had") as refused:
        PagePools(LAYOUT, PoolShape(1 << 40, 0), CPU, torch.float32)
    assert refused.value.field == "kv_tokens"
