"""Where tokens are written: a slot is a page and an offset in it, as one number.

Owns the reference of the fused write, which turns queries and keys by their position and puts keys
and values into their slots, and the check of slots. It knows no job. Tests compare the compiled
kernel with it; on a CPU the decoder calls the two steps from `elementwise` and `paged_attention`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .elementwise import rotate_
from .layout import PagedKv
from .paged_attention import write_kv


def rotate_and_write(
    kv: PagedKv, layer: int, qkv: Tensor, cos: Tensor, sin: Tensor, slots: Tensor, *, checked: bool = False
) -> None:
    """Rotate the query heads of qkv[n, heads + 2 * kv_heads, head_dim] in place; rotated keys and
    values go to their slots.

    `cos` and `sin` [n, 1, turned / 2] as `elementwise.rotary_angles`: the first `turned` elements
    of a head are turned, all of them in most models. `slots` int64[n]: page * page_tokens + offset.
    The key and value heads of `qkv` stay as they were. `checked` refuses slots outside of the pool
    and slots named twice, with IndexError.
    """
    if checked:
        check_slots(kv, slots)
    turned, first_key = 2 * cos.shape[-1], qkv.shape[1] - 2 * kv.layout.kv_heads
    written = qkv[:, first_key:].clone()
    rotate_(qkv[:, :first_key, :turned], cos, sin)
    rotate_(written[:, : kv.layout.kv_heads, :turned], cos, sin)
    pages, offsets = slots // kv.layout.page_tokens, slots % kv.layout.page_tokens
    write_kv(kv, layer, kv.write_index(pages, offsets), written)


def check_slots(kv: PagedKv, slots: Tensor) -> None:
    """Raise IndexError for a slot outside of the pool, or one that two tokens would write at once.
    On a device this waits for the slots.
    """
    count = len(kv.pool) * kv.layout.page_tokens
    if len(slots) and not 0 <= int(slots.min()) <= int(slots.max()) < count:
        raise IndexError(f"A token goes to a slot outside of the pool of {count}.")
    if len(torch.unique(slots)) != len(slots):
        raise IndexError("Two tokens go to the same slot.")
