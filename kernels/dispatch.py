"""Which implementation of a kernel runs on which device.

Owns `Kernels` and the choice: compiled by Triton on CUDA, compiled from C on a CPU, the plain-torch
reference wherever neither can be had. The runner asks once, at start, and hands the answer to
decoder and batch builder.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from . import elementwise, padded, sampling
from .layout import KvLayout, PagedKv
from .native.library import library
from .native.operations import NativeOperations
from .native.sampling import NativeSampler
from .ragged import RaggedBatch
from .ragged_attention import AttentionShape, check_tables
from .sampling import SamplingColumns
from .slots import check_slots
from .standing import StandingBatch


@dataclass(frozen=True, slots=True)
class Kernels:
    """One implementation of each operation that a decoder and the sampler behind it need; shapes
    are stated at the reference's functions.

    `prepare` makes what `rotate_and_write` and `attend` need of an iteration, once for all layers;
    each set has its own form of it, which nobody else looks into. `reads_behind` (layout, query
    heads): whether attention reads, and masks, what lies behind a context in its last page, which
    then must be finite. `standing` (pool, attention of the layers, rows, table entries, at most): a
    batch for replays, None where the set cannot be replayed.
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
    reads_behind: Callable[[KvLayout, int], bool]
    sample: Callable[[Tensor, SamplingColumns, Tensor | None, Tensor | None], tuple[Tensor, Tensor]]
    standing: Callable[[PagedKv, Sequence[AttentionShape], int, int], StandingBatch] | None = None


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
    reads_behind=lambda layout, heads: True,
    sample=sampling.sample,
)

_COMPILED = (torch.float32, torch.float16, torch.bfloat16)


def kernels_for(device: torch.device, dtype: torch.dtype) -> Kernels:
    """The quickest kernels that a device has for a precision; the reference at worst."""
    if device.type == "cpu":
        return _native(dtype) or REFERENCE
    return compiled() if compiles(device, dtype) else REFERENCE


def compiles(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether `kernels_for` takes what Triton compiles."""
    return device.type == "cuda" and dtype in _COMPILED


def compiled() -> Kernels:
    """What Triton compiles for a CUDA device, or interprets on a CPU where TRITON_INTERPRET is set;
    not for float64.
    """
    # Not at the top: a CPU needs no triton.
    from .compiled import gate, iteration, norm, sampling
    from .compiled.standing import CompiledStanding

    return Kernels(
        rms_norm=norm.rms_norm,
        add_rms_norm_=norm.add_rms_norm_,
        layer_norm=norm.layer_norm,
        add_layer_norm_=norm.add_layer_norm_,
        silu_gate=gate.silu_gate,
        gelu_gate=gate.gelu_gate,
        prepare=iteration.prepare,
        rotate_and_write=iteration.rotate_and_write,
        attend=iteration.attend,
        reads_behind=_never,
        sample=sampling.sample,
        standing=CompiledStanding,
    )


def _never(layout: KvLayout, heads: int) -> bool:
    """A function by name, so that two sets of the same kernels are equal."""
    return False


def checking(kernels: Kernels) -> Kernels:
    """The same kernels, which refuse an iteration whose tables or slots leave the pool, or that
    writes a slot twice, with IndexError.
    """

    def prepare(kv: PagedKv, batch: RaggedBatch, slots: Tensor) -> Any:
        check_tables(kv, batch)
        check_slots(kv, slots)
        return kernels.prepare(kv, batch, slots)

    return replace(kernels, prepare=prepare)


def _native(dtype: torch.dtype) -> Kernels | None:
    """What is compiled from C for this machine's processor."""
    found = library(dtype)
    if found is None:
        return None
    native = NativeOperations(found, dtype)
    return replace(
        REFERENCE,
        rms_norm=native.rms_norm,
        add_rms_norm_=native.add_rms_norm_,
        silu_gate=native.silu_gate,
        gelu_gate=native.gelu_gate,
        prepare=native.prepare,
        rotate_and_write=native.rotate_and_write,
        attend=native.attend,
        reads_behind=lambda layout, heads: not native.fits(layout, heads),
        sample=NativeSampler(found, dtype).sample,
    )
