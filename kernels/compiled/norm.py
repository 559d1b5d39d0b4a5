"""RMSNorm and LayerNorm over rows, each alone or fused with the sum that stands before it in a
decoder.

Owns the kernel and its four launches. It knows rows and weights, not layers. The decoder's dispatch
calls them; the references are in `..elementwise`.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from .launch import DTYPES, OPTIONS

_WIDEST = 4096
"""Columns of a row that are looked at together; a longer row takes several steps."""


@triton.jit
def _summed(x, residual, place, there, ADD: tl.constexpr):  # type: ignore[no-untyped-def]
    """float32 of x, or of x + residual as the model's dtype holds that sum: the norm must be that
    of what the next layer adds to.
    """
    value = tl.load(x + place, mask=there, other=0.0)
    if ADD:
        total = value.to(tl.float32) + tl.load(residual + place, mask=there, other=0.0).to(tl.float32)
        value = total.to(x.dtype.element_ty)
    return value.to(tl.float32)


@triton.jit
def _norm(  # type: ignore[no-untyped-def]
    x, residual, weight, bias, out, hidden, eps,
    ADD: tl.constexpr, CENTRE: tl.constexpr, BIASED: tl.constexpr, ROUNDED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64) * hidden
    lane = tl.arange(0, BLOCK)
    mean = 0.0
    if CENTRE:
        total = tl.zeros((BLOCK,), tl.float32)
        for start in range(0, hidden, BLOCK):
            there = start + lane < hidden
            total += _summed(x, residual, row + start + lane, there, ADD)
        mean = tl.sum(total, 0) / hidden
    squares = tl.zeros((BLOCK,), tl.float32)
    for start in range(0, hidden, BLOCK):
        there = start + lane < hidden
        apart = tl.where(there, _summed(x, residual, row + start + lane, there, ADD) - mean, 0.0)
        squares += apart * apart
    inverse = 1 / tl.sqrt(tl.sum(squares, 0) / hidden + eps)
    # The sum goes into the residual in the last pass, after which nobody reads the old one.
    for start in range(0, hidden, BLOCK):
        there = start + lane < hidden
        place = row + start + lane
        value = _summed(x, residual, place, there, ADD)
        if ADD:
            tl.store(residual + place, value.to(x.dtype.element_ty), mask=there)
        scale = tl.load(weight + start + lane, mask=there, other=0.0).to(tl.float32)
        normed = (value - mean) * inverse
        if ROUNDED:
            # Rounded before the weight is applied, as the reference says and as Llama models were
            # trained.
            normed = normed.to(x.dtype.element_ty).to(tl.float32)
        normed *= scale
        if BIASED:
            normed += tl.load(bias + start + lane, mask=there, other=0.0).to(tl.float32)
        tl.store(out + place, normed.to(out.dtype.element_ty), mask=there)


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """As the reference."""
    return _launch(x, None, weight, None, eps, centre=False)


def add_rms_norm_(x: Tensor, residual: Tensor, weight: Tensor, eps: float) -> Tensor:
    """As the reference."""
    return _launch(x, residual, weight, None, eps, centre=False)


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor | None, eps: float) -> Tensor:
    """As the reference."""
    return _launch(x, None, weight, bias, eps, centre=True)


def add_layer_norm_(x: Tensor, residual: Tensor, weight: Tensor, bias: Tensor | None, eps: float) -> Tensor:
    """As the reference."""
    return _launch(x, residual, weight, bias, eps, centre=True)


def _launch(
    x: Tensor, residual: Tensor | None, weight: Tensor, bias: Tensor | None, eps: float, *, centre: bool
) -> Tensor:
    # A weight that is float32 beside a half precision is applied before the rounding, as Gemma's
    # are.
    assert (
        x.dtype in DTYPES
        and weight.dtype in (x.dtype, torch.float32)
        and (residual is None or residual.dtype == x.dtype)
    )
    assert x.is_contiguous() and (residual is None or (residual.is_contiguous() and residual.shape == x.shape))
    out = torch.empty_like(x)
    if not x.numel():
        return out
    hidden = x.shape[-1]
    block = min(_WIDEST, 1 << (hidden - 1).bit_length())
    _norm[(x.numel() // hidden,)](
        x, x if residual is None else residual, weight, weight if bias is None else bias, out, hidden, eps,
        ADD=residual is not None, CENTRE=centre, BIASED=bias is not None,
        ROUNDED=not centre and weight.dtype == x.dtype, BLOCK=block,
        num_warps=max(1, min(8, block // 512)), **OPTIONS,
    )  # fmt: skip
    return out
