"""The fused rotation and write against the reference in float64, into a poisoned pool."""

from __future__ import annotations

import math

import torch
from nearness import DTYPES, assert_near, refuses

import skipjoin.kernels.slots as reference
from skipjoin.kernels.compiled import slots
from skipjoin.kernels.elementwise import rotary_angles
from skipjoin.kernels.layout import KvLayout, PagedKv

LAYER = 1


def write(device, dtype, heads, kv_heads, head_dim, page_tokens, tokens, seed, turned=None):
    """All tokens to random slots; nothing else in the pool changes, and keys and values in `qkv` stay."""
    torch.manual_seed(seed)
    kind = DTYPES[dtype]
    layout = KvLayout(2, kv_heads, page_tokens, head_dim)
    pages = -(-tokens // page_tokens) + 2
    pool = torch.full(layout.pool_shape(pages), math.nan, dtype=kind, device=device)
    chosen = torch.randperm(pages * page_tokens)[:tokens].to(device)
    qkv = torch.randn(tokens, heads + 2 * kv_heads, head_dim).to(kind).to(device)
    turned = head_dim if turned is None else turned
    frequencies = 10000.0 ** (-torch.arange(0, turned, 2, device=device) / turned)
    cos, sin = rotary_angles(torch.randint(0, 5000, (tokens,), device=device), frequencies, kind)
    want, before = qkv.double(), qkv.clone()
    wide = PagedKv(pool.double(), layout)
    reference.rotate_and_write(wide, LAYER, want, cos.double(), sin.double(), chosen)
    slots.rotate_and_write(PagedKv(pool, layout), LAYER, qkv, cos, sin, chosen, checked=True)
    assert torch.equal(qkv[:, heads:], before[:, heads:])
    assert torch.equal(pool.isnan(), wide.pool.isnan()), "another slot was touched, or one was left out"
    written = ~pool.isnan()
    assert_near(pool[written], wide.pool[written])
    return assert_near(qkv[:, :heads], want[:, :heads])


def checked(device, slot):
    """A slot outside of the pool of 8, or one named twice: nothing is written."""
    layout = KvLayout(1, 1, 4, 16)
    kv = PagedKv(torch.zeros(layout.pool_shape(2), device=device), layout)
    qkv, angle = torch.ones(2, 3, 16, device=device), torch.ones(2, 1, 8, device=device)
    for write_ in (slots.rotate_and_write, reference.rotate_and_write):
        refuses(lambda w=write_: w(kv, 0, qkv, angle, angle, torch.tensor([3, slot], device=device), checked=True))
    assert not kv.pool.any() and (qkv == 1).all()
