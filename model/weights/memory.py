"""How much memory there is, and whether a model fits into it.

Owns asking the machine. It does not know what a model is made of; loading asks before it reads a
byte of the weights, capacity when it sizes the pools.
"""

from __future__ import annotations

import os
from pathlib import Path

import torch

from ...core.errors import InvalidModel


def refuse_too_large(needed_bytes: int, device: torch.device, dtype: torch.dtype) -> None:
    """Raise InvalidModel when weights of so many bytes do not fit into what is free on the device
    now.
    """
    if needed_bytes > _free_bytes(device):
        raise not_enough(needed_bytes, device, dtype)


def not_enough(needed_bytes: int, device: torch.device, dtype: torch.dtype) -> InvalidModel:
    """What to say where weights of so many bytes do not fit."""
    smaller = " or a smaller dtype" if dtype.itemsize > 2 else ""
    return InvalidModel(
        f"The weights need {needed_bytes / 2**30:.1f} GiB in {str(dtype).removeprefix('torch.')} on {device}; take "
        f"a smaller model{smaller}.",
        field="model",
        limit=f"the {_free_bytes(device) / 2**30:.1f} GiB that are free",
    )


def _free_bytes(device: torch.device) -> int:
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else available_bytes()


def available_bytes() -> int:
    """Host memory that can be had without swapping."""
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
