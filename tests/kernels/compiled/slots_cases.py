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
    """All tokens to random slots; nothing else in the pool changes, and keys and values in `qkv`
    stay.
    """
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


def unwritten(device, dtype, seed):
    """Rows whose slot is -1 turn like the others and leave no trace in the pool."""
    torch.manual_seed(seed)
    layout = KvLayout(2, 2, 4, 16)
    pools = [torch.full(layout.pool_shape(3), math.nan, dtype=DTYPES[dtype], device=device) for _ in range(2)]
    qkv = torch.randn(5, 7, 16).to(DTYPES[dtype]).to(device)
    cos, sin = rotary_angles(torch.arange(5, device=device), 10.0 ** -torch.arange(8, device=device), DTYPES[dtype])
    both, alone = qkv.clone(), qkv[:3].clone()
    here = torch.tensor([7, 2, 11], device=device)
    apart = torch.cat([here, here.new_full((2,), -1)])
    slots.rotate_and_write(PagedKv(pools[0], layout), LAYER, both, cos, sin, apart)
    slots.rotate_and_write(PagedKv(pools[1], layout), LAYER, alone, cos[:3], sin[:3], here)
    assert torch.equal(both[:3], alone) and not torch.equal(both[3:], qkv[3:])
    assert torch.equal(pools[0].isnan(), pools[1].isnan()), "a row without a slot was written"
    assert torch.equal(pools[0].nan_to_num(), pools[1].nan_to_num())


def checked(device, slot):
    """A slot outside of the pool of 8, or one named twice: nothing is written."""
    layout = KvLayout(1, 1, 4, 16)
    kv = PagedKv(torch.zeros(layout.pool_shape(2), device=device), layout)
    qkv, angle = torch.ones(2, 3, 16, device=device), torch.ones(2, 1, 8, device=device)
    for write_ in (slots.rotate_and_write, reference.rotate_and_write):
        refuses(lambda w=write_: w(kv, 0, qkv, angle, angle, torch.tensor([3, slot], device=device), checked=True))
    assert not kv.pool.any() and (qkv == 1).all()
