"""An iteration's arrays on their way to the device.

Owns page-locked memory that they are written into side by side, the copy behind it, and the events
that say when it may be written again. It does not know what the arrays hold. The runner makes one
for its device; batch builder, sampler, penalties and the kernel sets send by it.

From ordinary memory every array would be a copy of its own, and a large one would make the host
wait until the device has come to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..kernels.bring import brings_to

_SLABS = 3
"""Two plans in flight and the one that is being made: nobody waits for a copy then."""

_FIRST_BYTES = 2**18
_ALIGNED = 128
"""Each array starts where a memory transaction does; kernels have a form of their own for addresses
that 16 does not divide.
"""


class Upload(Protocol):
    """The way of one executor's arrays, used by one thread."""

    def begin(self) -> None:
        """An iteration begins: what was brought for earlier ones may be written over by work that
        is launched from now on.
        """
        ...

    def bring(self, *arrays: NDArray[Any]) -> tuple[Tensor, ...]:
        """One copy for all of them. The tensors hold for work that is launched before the next
        `begin`.
        """
        ...

    def keep(self, *arrays: NDArray[Any]) -> tuple[Tensor, ...]:
        """As `bring`, into memory of their own: these tensors hold as long as somebody has them."""
        ...


class Event(Protocol):
    """What is asked of a CUDA event."""

    def record(self) -> None:
        """Behind everything that the device has been given so far."""
        ...

    def synchronize(self) -> None:
        """Wait until the device has come to it."""
        ...


class Copies(Protocol):
    """What a ring asks of a device; all that is CUDA's own here."""

    def staging(self, size: int) -> Tensor:
        """uint8[size] of host memory from which the device copies by itself."""
        ...

    def launch(self, there: Tensor, here: Tensor) -> None:
        """Copy staging memory to the device, behind everything that it has been given; nobody
        waits.
        """
        ...

    def event(self) -> Event: ...


def upload_for(device: torch.device) -> Upload:
    """Staged to CUDA; on a CPU tensors are the arrays' own memory."""
    return UploadRing(device, CudaCopies()) if device.type == "cuda" else PlainUpload(device)


class CudaCopies:
    """Page-locked memory, and copies on the current stream."""

    def staging(self, size: int) -> Tensor:
        return torch.empty(size, dtype=torch.uint8, pin_memory=True)

    def launch(self, there: Tensor, here: Tensor) -> None:
        there.copy_(here, non_blocking=True)

    def event(self) -> Event:
        return torch.cuda.Event()


class PlainUpload:
    """Without staging."""

    def __init__(self, device: torch.device) -> None:
        self.bring = self.keep = brings_to(device)

    def begin(self) -> None:
        """Nothing is used again here."""


class UploadRing:
    """Slabs in turn, one an iteration."""

    def __init__(self, device: torch.device, copies: Copies) -> None:
        self._slabs = [_Slab(device, copies) for _ in range(_SLABS)]
        self._at = 0

    def begin(self) -> None:
        """Waits where the copies of the third iteration before this one are not over."""
        self._at = (self._at + 1) % len(self._slabs)
        self._slabs[self._at].begin()

    def bring(self, *arrays: NDArray[Any]) -> tuple[Tensor, ...]:
        return self._slabs[self._at].send(arrays, kept=False)

    def keep(self, *arrays: NDArray[Any]) -> tuple[Tensor, ...]:
        return self._slabs[self._at].send(arrays, kept=True)


class _Slab:
    """Page-locked memory and as much on the device, filled from the front.

    The host may not write where a copy still reads, which the event behind it tells. The device's
    half needs no such care: copies and whatever reads them are launched on one stream, one behind
    the other.
    """

    def __init__(self, device: torch.device, copies: Copies) -> None:
        self._device = device
        self._copies = copies
        self._copied = copies.event()
        self._sent = False
        self._used = 0
        self._outgrown: list[Tensor] = []
        self._allocate(_FIRST_BYTES)

    def begin(self) -> None:
        if self._sent:
            self._copied.synchronize()
        self._sent, self._used = False, 0
        self._outgrown.clear()

    def send(self, arrays: Sequence[NDArray[Any]], *, kept: bool) -> tuple[Tensor, ...]:
        starts, size = [], 0
        for array in arrays:
            starts.append(size)
            size += -(-array.nbytes // _ALIGNED) * _ALIGNED
        if self._used + size > len(self._bytes):
            self._grow(size)
        first, self._used = self._used, self._used + size
        for array, start in zip(arrays, starts, strict=True):
            place = self._bytes[first + start : first + start + array.nbytes]
            np.copyto(place.view(array.dtype).reshape(array.shape), array)
        there = self._on_device(size) if kept else self._there[first : first + size]
        self._copies.launch(there, self._staging[first : first + size])
        self._copied.record()
        self._sent = True
        return tuple(_view(there, start, array) for array, start in zip(arrays, starts, strict=True))

    def _grow(self, size: int) -> None:
        """Memory with room for twice what is asked. What was sent before stays where it is until
        the next `begin`.
        """
        self._outgrown.append(self._staging)
        self._allocate(1 << (2 * (self._used + size) - 1).bit_length())
        self._used = 0

    def _allocate(self, size: int) -> None:
        self._staging = self._copies.staging(size)
        self._bytes: NDArray[np.uint8] = self._staging.numpy()
        self._there = self._on_device(size)

    def _on_device(self, size: int) -> Tensor:
        # Asked for within a forward pass too; a tensor that is made in inference mode could not be
        # written outside of it.
        with torch.inference_mode(False):
            return torch.empty(size, dtype=torch.uint8, device=self._device)


def _view(there: Tensor, start: int, array: NDArray[Any]) -> Tensor:
    """`array` as it lies from byte `start` on."""
    numbers = there[start : start + array.nbytes].view(_dtype(array.dtype))
    return numbers if array.ndim == 1 else numbers.view(array.shape)


@cache
def _dtype(dtype: np.dtype[Any]) -> torch.dtype:
    return torch.from_numpy(np.empty(0, dtype)).dtype
