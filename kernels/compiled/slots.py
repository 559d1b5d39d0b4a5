"""Rotary embedding and the write into pages, in one pass over an iteration's queries, keys and
values.

Owns the kernel and its launch. It knows slots, neither jobs nor tables. The decoder's dispatch
calls it; the reference is `..slots`.
"""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from ..layout import PagedKv
from ..slots import check_slots
from .launch import DTYPES, OPTIONS
from .tuning import power_of_two

_ELEMENTS = 2048
"""Elements of a program's block of heads: enough for full memory transactions, few enough to stay
in registers.
"""


@triton.jit
def _rotate_and_write(  # type: ignore[no-untyped-def]
    qkv, cos, sin, slots, pool, token_stride, page_stride, heads, rotated_heads, written_heads,
    HEAD_DIM: tl.constexpr, HALF: tl.constexpr, PAGE_TOKENS: tl.constexpr, HEADS: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    token = tl.program_id(0).to(tl.int64)
    head = tl.program_id(1) * HEADS + tl.arange(0, HEADS)
    d = tl.arange(0, WIDTH)
    there = (head < heads)[:, None] & (d < HEAD_DIM)[None, :]
    source = qkv + token * token_stride + head[:, None] * HEAD_DIM
    x = tl.load(source + d[None, :], mask=there, other=0.0).to(tl.float32)
    # Element i of the first half turns with element i of the second; what lies behind both halves
    # stays.
    turned = d < 2 * HALF
    first = d < HALF
    partner = tl.where(first, d + HALF, d - HALF)
    y = tl.load(source + partner[None, :], mask=there & turned[None, :], other=0.0).to(tl.float32)
    angle = tl.where(first, d, d - HALF)
    c = tl.load(cos + token * HALF + angle, mask=turned, other=1.0).to(tl.float32)
    s = tl.load(sin + token * HALF + angle, mask=turned, other=0.0).to(tl.float32)
    rotated = x * c[None, :] + y * tl.where(first, -s, s)[None, :]
    result = tl.where((head < rotated_heads)[:, None], rotated, x)
    slot = tl.load(slots + token).to(tl.int64)
    first_written = heads - written_heads
    place = pool + slot // PAGE_TOKENS * page_stride + slot % PAGE_TOKENS * HEAD_DIM
    place += (head - first_written)[:, None] * (PAGE_TOKENS * HEAD_DIM) + d[None, :]
    is_written = (head >= tl.where(slot < 0, heads, first_written))[:, None]
    # In place: every thread must have read its pair before anyone overwrites one.
    tl.debug_barrier()
    tl.store(place, result.to(pool.dtype.element_ty), mask=there & is_written)
    tl.store(source + d[None, :], result.to(qkv.dtype.element_ty), mask=there & (head < first_written)[:, None])


def rotate_and_write(
    kv: PagedKv, layer: int, qkv: Tensor, cos: Tensor, sin: Tensor, slots: Tensor, *, checked: bool = False
) -> None:
    """As the reference; products and sums are float32 and rounded once. A row whose slot is -1
    turns and is written nowhere.
    """
    layout = kv.layout
    assert qkv.dtype in DTYPES and qkv.dtype == kv.pool.dtype
    assert qkv.stride(2) == 1 and qkv.stride(1) == qkv.shape[2] == layout.head_dim
    assert cos.is_contiguous() and sin.is_contiguous() and 2 * cos.shape[-1] <= layout.head_dim
    if checked:
        check_slots(kv, slots)
    if not len(qkv):
        return
    heads, width = qkv.shape[1], power_of_two(layout.head_dim)
    block = max(1, min(_ELEMENTS // width, 1 << (heads - 1).bit_length()))
    _rotate_and_write[(len(qkv), triton.cdiv(heads, block))](
        qkv, cos, sin, slots, kv.pool[:, layer], qkv.stride(0), kv.pool.stride(0),
        heads, heads - layout.kv_heads, 2 * layout.kv_heads,
        HEAD_DIM=layout.head_dim, HALF=cos.shape[-1], PAGE_TOKENS=layout.page_tokens, HEADS=block, WIDTH=width,
        **OPTIONS,
    )  # fmt: skip
