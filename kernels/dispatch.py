"""Which implementation of a kernel runs on which device.

Owns the table from device type to `Kernels`. Today every device runs the plain-torch reference; a faster set for a device is one more row.
The runner asks once, at start, and hands the answer to decoder and batch builder.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from . import elementwise, padded
from .layout import PagedKv
from .ragged import RaggedBatch
from .ragged_attention import AttentionShape


@dataclass(frozen=True, slots=True)
class Kernels:
    """One implementation of each operation that a decoder needs; shapes are stated at the reference's functions.

    `prepare` makes what `rotate_and_write` and `attend` need of an iteration, once for all layers; each set has its own form of it, which
    nobody else looks into.
    """

    rms_norm: Callable[[Tensor, Tensor, float], Tensor]
    add_rms_norm_: Callable[[Tensor, Tensor, Tensor, float], Tensor]
    layer_norm: Callable[[Tensor, Tensor, Tensor | None, float], Tensor]
    add_layer_norm_: Callable[[Tensor, Tensor, Tensor, Tensor | None, float], Tensor]
    silu_gate: Callable[[Tensor], Tensor]
    gelu_gate: Callable[[Tensor], Tensor]
    prepare: Callable[[PagedKv, RaggedBatch, Tensor], Any]
    rotate_and_write: Callable[[PagedKv, int, Tensor, Tensor, Tensor, Any], None]
    attend: Callable[[PagedKv, int, AttentionShape, Any, Tensor, Tensor], None]


REFERENCE = Kernels(
    rms_norm=elementwise.rms_norm,
    add_rms_norm_=elementwise.add_rms_norm_,
    layer_norm=elementwise.layer_norm,
    add_layer_norm_=elementwise.add_layer_norm_,
    silu_gate=elementwise.silu_gate,
    gelu_gate=elementwise.gelu_gate,
    prepare=padded.prepare,
    rotate_and_write=padded.rotate_and_write,
    attend=padded.attend,
)

_BY_DEVICE_TYPE: dict[str, Kernels] = {}


def kernels_for(device: torch.device, dtype: torch.dtype) -> Kernels:
    """The kernels of a device; the reference where none of its own are known."""
    return _BY_DEVICE_TYPE.get(device.type, REFERENCE)
