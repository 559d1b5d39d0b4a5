"""Pools: zeroed, aligned, refused by name, and not written to before a job comes."""

from __future__ import annotations

import resource

import pytest
import torch

from skipjoin.core.errors import InvalidInput
from skipjoin.kernels.layout import KvLayout
from skipjoin.kvstore.device import pool as pool_file
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


class Runtime:
    """CUDA's, as far as pinning goes: memory that is pinned twice, or given back twice, is an
    error.
    """

    def __init__(self, full: bool = False) -> None:
        self.full = full
        self.pinned: dict[int, int] = {}

    def cudaHostRegister(self, address: int, size: int, flags: int) -> int:  # noqa: N802
        if self.full or address in self.pinned:
            return 2
        self.pinned[address] = size
        return 0

    def cudaHostUnregister(self, address: int) -> int:  # noqa: N802
        del self.pinned[address]
        return 0


def test_a_pinned_pool_is_as_large_as_it_is_and_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = Runtime()
    monkeypatch.setattr(torch.cuda, "cudart", lambda: runtime)
    flat = pool_file._untouched_zeros(3 * 4096 + 8, pinned=True)
    assert runtime.pinned == {flat.data_ptr(): 3 * 4096 + 8} and flat.data_ptr() % 4096 == 0
    part = flat.view(torch.int64)[5:]
    del flat
    assert runtime.pinned, "somebody still holds a part of it"
    del part
    assert not runtime.pinned


def test_what_cannot_be_pinned_is_no_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "cudart", lambda: Runtime(full=True))
    with pytest.raises(RuntimeError, match="cudaHostRegister: error 2"):
        pool_file._untouched_zeros(4096, pinned=True)
