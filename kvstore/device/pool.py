"""Memory for pages: a pool on the device and a pool on the host.

Owns the two allocations and their byte views, one contiguous block per page. It does not know which
page is whose: the ledger does. The executor allocates one `PagePools` at start; mover and kernels
work on it.
"""

from __future__ import annotations

import math
import mmap
import weakref
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...core.errors import InvalidInput
from ...kernels.layout import KvLayout

_FOR_EVERY_DEVICE = 1  # cudaHostRegisterPortable


@dataclass(frozen=True, slots=True)
class PoolShape:
    """How many pages each pool has and how many tokens a page holds."""

    num_pages: int
    num_host_pages: int
    page_tokens: int = 16

    def __post_init__(self) -> None:
        if self.num_pages < 1:
            raise InvalidInput(
                "The device pool needs at least one page.",
                field="kv_tokens",
                limit=f"at least {self.page_tokens} tokens",
            )
        if self.num_host_pages < 0:
            raise InvalidInput(
                "The host pool cannot have less than no page.", field="host_kv_tokens", limit="at least 0"
            )
        if not 1 <= self.page_tokens <= 1024:
            raise InvalidInput("A page must hold 1 to 1024 tokens.", field="page_tokens", limit="1..1024")


class PagePools:
    """Both pools, zeroed. `device[page]` and `host[slot]` are KvLayout pages; the host pool is
    pinned when the device is CUDA.

    Raises InvalidInput when the memory cannot be had.
    """

    def __init__(self, layout: KvLayout, shape: PoolShape, device: torch.device, dtype: torch.dtype) -> None:
        self.layout = layout
        self.shape = shape
        # Zeroed: numbers behind a context are masked, but a stray NaN there would come through as
        # NaN * 0.
        self.device = _zeros(layout, shape.num_pages, "kv_tokens", device=device, dtype=dtype)
        pinned = device.type == "cuda" and shape.num_host_pages > 0
        self.host = _zeros(
            layout, shape.num_host_pages, "host_kv_tokens", device=torch.device("cpu"), dtype=dtype, pin_memory=pinned
        )

    @property
    def page_bytes(self) -> int:
        """Bytes of one page over all layers."""
        return self.layout.page_bytes(self.device.dtype)


def _zeros(
    layout: KvLayout, pages: int, field: str, *, device: torch.device, dtype: torch.dtype, pin_memory: bool = False
) -> Tensor:
    try:
        if device.type == "cpu":
            flat = _untouched_zeros(pages * layout.page_bytes(dtype), pinned=pin_memory)
            return flat.view(dtype).view(layout.pool_shape(pages))
        return torch.zeros(layout.pool_shape(pages), device=device, dtype=dtype)
    except (RuntimeError, MemoryError) as error:
        gib = pages * layout.page_bytes(dtype) / 2**30
        raise InvalidInput(
            f"A pool of {pages} pages needs {gib:.1f} GiB, which could not be had.",
            field=field,
            limit="the free memory",
        ) from error


def _untouched_zeros(size: int, *, pinned: bool) -> Tensor:
    """uint8[size], on a border of the system's pages. numpy asks the system for zeroed memory and
    touches none of it, torch writes every byte: 15 GiB of pools made a start of seconds take a
    minute.

    `pinned`: a device reads and writes it by itself. torch's own pinned memory is a power of two:
    of a pool of 33 GiB it would hold 64.
    """
    memory = np.zeros(size + mmap.PAGESIZE, dtype=np.uint8)
    first = -memory.ctypes.data % mmap.PAGESIZE
    flat = memory[first : first + size]
    if pinned:
        _pin(memory, flat.ctypes.data, size)
    return torch.from_numpy(flat)


def _pin(memory: NDArray[np.uint8], address: int, size: int) -> None:
    """For as long as `memory` lives. Raises RuntimeError."""
    runtime = torch.cuda.cudart()
    if code := int(runtime.cudaHostRegister(address, size, _FOR_EVERY_DEVICE)):
        raise RuntimeError(f"cudaHostRegister: error {code}")
    weakref.finalize(memory, runtime.cudaHostUnregister, address).atexit = False


def page_bytes_view(pool: Tensor) -> Tensor:
    """uint8[pages, page_bytes]: the same memory, for copies and checksums."""
    return pool.view(pool.shape[0], math.prod(pool.shape[1:])).view(torch.uint8)
