"""Which code computes, as a digest.

Owns what a measured time depends on beside model, device and settings: the sources of kernels and
forward pass, torch, and the compiled library. It does not know what is measured. A server's cost
cache asks, so that a profile of other code is not taken for one of this.
"""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

import torch

from ..kernels.native.library import library

_SUFFIXES = (".py", ".c", ".h")


@cache
def computing_code(device: torch.device, dtype: torch.dtype) -> str:
    """A digest in hex; equal while nothing changed that a forward pass on `device` in `dtype` is
    made of.
    """
    digest = hashlib.sha256(torch.__version__.encode())
    root = Path(__file__).parent.parent
    for path in sorted(path for part in ("executor", "kernels", "model") for path in (root / part).rglob("*")):
        if path.suffix in _SUFFIXES:
            digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    compiled = library(dtype) if device.type == "cpu" else None
    digest.update(b"nothing compiled" if compiled is None else compiled.name.encode())
    return digest.hexdigest()[:32]
