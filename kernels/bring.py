"""How arrays that the host made for an iteration come to the device.

Owns the form of the call, `Bring`, and the plain way, array by array. It does not know what the
arrays hold, nor staging: the executor has a way that waits for nothing and hands it in. Kernel
sets, samplers and whoever prepares an iteration by hand call it.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from numpy.typing import NDArray
from torch import Tensor


class Bring(Protocol):
    """Called with arrays, gives a tensor on the device for each, of its shape and dtype."""

    def __call__(self, *arrays: NDArray[Any]) -> tuple[Tensor, ...]: ...


def brings_to(device: torch.device) -> Bring:
    """The plain way to a device; on a CPU nothing is copied, the tensors are the arrays' own
    memory.
    """
    if device.type == "cpu":
        return _as_tensors

    def bring(*arrays: NDArray[Any]) -> tuple[Tensor, ...]:
        return tuple(torch.from_numpy(array).to(device, non_blocking=True) for array in arrays)

    return bring


def _as_tensors(*arrays: NDArray[Any]) -> tuple[Tensor, ...]:
    return tuple(map(torch.from_numpy, arrays))
