"""Pages to a staging buffer and back, bit for bit."""

from __future__ import annotations

import torch
from nearness import refuses

import skipjoin.kernels.staging as reference
from skipjoin.kernels.compiled import staging


def round_trip(device, dtype, page_shape, pages, count, seed):
    """Random bits out, the pool wiped, and back to other pages."""
    torch.manual_seed(seed)
    kind = getattr(torch, dtype)
    size = kind.itemsize
    for dimension in page_shape:
        size *= dimension
    bits = torch.randint(0, 256, (pages, size), dtype=torch.uint8, device=device)
    pool = bits.view(kind).view(pages, *page_shape)
    source, target = (torch.randperm(pages, device=device)[:count] for _ in range(2))
    buffer = torch.zeros(count, *page_shape, dtype=kind, device=device)
    staging.gather_pages(pool, source, buffer, checked=True)
    plain = torch.empty_like(buffer)
    reference.gather_pages(pool, source, plain)
    assert torch.equal(buffer.view(torch.uint8).reshape(count, size), bits[source])
    assert torch.equal(plain.view(torch.uint8).reshape(count, size), bits[source])
    found = bits[source].clone()
    outcomes = []
    for scatter in (staging.scatter_pages, reference.scatter_pages):
        fresh = torch.zeros_like(pool)
        scatter(fresh, target, buffer, checked=True)
        outcomes.append(fresh.view(torch.uint8).reshape(pages, size))
    assert torch.equal(outcomes[0], outcomes[1])
    assert torch.equal(outcomes[0][target], found)
    others = torch.ones(pages, dtype=torch.bool, device=device)
    others[target] = False
    assert not outcomes[0][others].any()


def checked(device):
    pool, buffer = torch.zeros(4, 6, device=device), torch.ones(2, 6, device=device)
    for page in (-1, 4):
        pages = torch.tensor([0, page], device=device)
        for copy in (staging.gather_pages, staging.scatter_pages, reference.gather_pages, reference.scatter_pages):
            refuses(lambda copy=copy, pages=pages: copy(pool, pages, buffer, checked=True))
    twice = torch.tensor([2, 2], device=device)
    for scatter in (staging.scatter_pages, reference.scatter_pages):
        refuses(lambda scatter=scatter: scatter(pool, twice, buffer, checked=True))
    assert not pool.any() and (buffer == 1).all()
