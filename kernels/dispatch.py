"""Which implementation of a kernel runs on which device.

Owns the table from device type to `Kernels`. Today every device runs the plain-torch reference; a faster set for a device is one more row.
The executor's decoder asks once, at load.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from . import elementwise, paged_attention
from .layout import PagedKv
from .paged_attention import ChunkSpan, DecodeGroup


@dataclass(frozen=True, slots=True)
class Kernels:
    """One implementation of each operation that a decoder needs; shapes are stated at the reference's functions."""

    rms_norm: Callable[[Tensor, Tensor, float], Tensor]
    rotate_: Callable[[Tensor, Tensor, Tensor], None]
    silu_gate: Callable[[Tensor], Tensor]
    write_kv: Callable[[PagedKv, int, Tensor, Tensor], None]
    decode_attention: Callable[[PagedKv, int, DecodeGroup, Tensor, Tensor], None]
    chunk_attention: Callable[[PagedKv, int, ChunkSpan, Tensor, Tensor], None]


REFERENCE = Kernels(
    rms_norm=elementwise.rms_norm,
    rotate_=elementwise.rotate_,
    silu_gate=elementwise.silu_gate,
    write_kv=paged_attention.write_kv,
    decode_attention=paged_attention.decode_attention,
    chunk_attention=paged_attention.chunk_attention,
)

_BY_DEVICE_TYPE: dict[str, Kernels] = {}


def kernels_for(device: torch.device) -> Kernels:
    """The kernels of a device; the reference where none of its own are known."""
    return _BY_DEVICE_TYPE.get(device.type, REFERENCE)
