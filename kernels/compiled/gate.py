"""The gated activations of a decoder's MLP: SwiGLU and GeGLU.

Owns the kernel and its two launches. It knows one tensor that holds gate and up side by side. The
decoder's dispatch calls them; the references are in `..elementwise`.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from .launch import DTYPES, OPTIONS

_COLUMNS = 1024
_ROOT_2_OVER_PI = tl.constexpr(0.7978845608028654)


@triton.jit
def _gate(gate_up, out, width, row_stride, GELU: tl.constexpr, COLUMNS: tl.constexpr):  # type: ignore[no-untyped-def]
    row = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    there = column < width
    gate = tl.load(gate_up + row * row_stride + column, mask=there, other=0.0).to(tl.float32)
    up = tl.load(gate_up + row * row_stride + width + column, mask=there, other=0.0).to(tl.float32)
    inner = gate
    if GELU:
        # (1 + tanh(z)) / 2 is the sigmoid of 2z.
        inner = 2 * _ROOT_2_OVER_PI * (gate + 0.044715 * gate * gate * gate)
    tl.store(out + row * width + column, (gate * tl.sigmoid(inner) * up).to(out.dtype.element_ty), mask=there)


def silu_gate(gate_up: Tensor) -> Tensor:
    """As the reference; rounded once."""
    return _launch(gate_up, gelu=False)


def gelu_gate(gate_up: Tensor) -> Tensor:
    """As the reference; rounded once."""
    return _launch(gate_up, gelu=True)


def _launch(gate_up: Tensor, *, gelu: bool) -> Tensor:
    assert gate_up.dtype in DTYPES and gate_up.stride(1) == 1 and gate_up.shape[1] % 2 == 0
    rows, width = len(gate_up), gate_up.shape[1] // 2
    out = torch.empty(rows, width, dtype=gate_up.dtype, device=gate_up.device)
    if out.numel():
        grid = (rows, triton.cdiv(width, _COLUMNS))
        _gate[grid](gate_up, out, width, gate_up.stride(0), GELU=gelu, COLUMNS=_COLUMNS, **OPTIONS)
    return out
