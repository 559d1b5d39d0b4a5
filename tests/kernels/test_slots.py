"""The reference of the fused write does what its two steps do one token at a time, and leaves keys
and values where they came from.
"""

from __future__ import annotations

import math

import pytest
import torch

from skipjoin.kernels.elementwise import rotary_angles, rotate_
from skipjoin.kernels.layout import KvLayout, PagedKv
from skipjoin.kernels.slots import rotate_and_write

LAYOUT = KvLayout(layers=2, kv_heads=1, page_tokens=4, head_dim=6)


@pytest.mark.parametrize("turned", [2, 6])
def test_rotate_and_write(turned):
    torch.manual_seed(0)
    kv = PagedKv(torch.full(LAYOUT.pool_shape(3), math.nan, dtype=torch.float64), LAYOUT)
    qkv = torch.randn(3, 5, 6, dtype=torch.float64)
    before, slots = qkv.clone(), torch.tensor([9, 0, 7])
    cos, sin = rotary_angles(torch.tensor([4, 0, 31]), torch.tensor([1.0, 0.5, 0.2])[: turned // 2], torch.float64)
    rotate_and_write(kv, 1, qkv, cos, sin, slots, checked=True)
    want = before.clone()
    rotate_(want[:, :4, :turned], cos, sin)
    torch.testing.assert_close(qkv[:, :3], want[:, :3])
    assert torch.equal(qkv[:, 3:], before[:, 3:])
    for token, slot in enumerate(slots.tolist()):
        torch.testing.assert_close(kv.pool[slot // 4, 1, 0, 0, slot % 4], want[token, 3])
        torch.testing.assert_close(kv.pool[slot // 4, 1, 1, 0, slot % 4], before[token, 4])
    assert int((~kv.pool.isnan()).sum()) == 3 * 2 * 6
