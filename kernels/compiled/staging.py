"""Pages gathered into a staging buffer and scattered back, each as one piece of memory over all
layers.

Owns the kernel and its two launches. It sees words, not numbers, so that every bit pattern arrives
as it left. A mover calls it; the reference is `..staging`.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..staging import check_pages
from .launch import OPTIONS

_WORDS = 2048
"""Words that one program copies: 16 KiB at most, so that even a single page keeps several
multiprocessors busy.
"""


@triton.jit
def _copy(pool, pages, staging, page_words, GATHER: tl.constexpr, WORDS: tl.constexpr):  # type: ignore[no-untyped-def]
    row = tl.program_id(0).to(tl.int64)
    word = tl.program_id(1) * WORDS + tl.arange(0, WORDS)
    there = word < page_words
    in_pool = pool + tl.load(pages + row).to(tl.int64) * page_words + word
    in_staging = staging + row * page_words + word
    if GATHER:
        tl.store(in_staging, tl.load(in_pool, mask=there), mask=there)
    else:
        tl.store(in_pool, tl.load(in_staging, mask=there), mask=there)


def gather_pages(pool: Tensor, pages: Tensor, staging: Tensor, *, checked: bool = False) -> None:
    """As the reference."""
    if checked:
        check_pages(pool, pages)
    _launch(pool, pages, staging, gather=True)


def scatter_pages(pool: Tensor, pages: Tensor, staging: Tensor, *, checked: bool = False) -> None:
    """As the reference."""
    if checked:
        check_pages(pool, pages, distinct=True)
    _launch(pool, pages, staging, gather=False)


def _launch(pool: Tensor, pages: Tensor, staging: Tensor, *, gather: bool) -> None:
    assert pool.is_contiguous() and staging.is_contiguous() and pool.dtype == staging.dtype
    assert staging.shape == (len(pages), *pool.shape[1:])
    if not staging.numel():
        return
    pool, staging = _as_words(pool), _as_words(staging)
    page_words = staging.shape[1]
    grid = (len(pages), triton.cdiv(page_words, _WORDS))
    _copy[grid](pool, pages, staging, page_words, GATHER=gather, WORDS=_WORDS, **OPTIONS)


def _as_words(pool: Tensor) -> Tensor:
    """[pages, words]: the same memory in the widest whole numbers that a page is made of."""
    flat = pool.view(len(pool), -1)
    size = flat.shape[1] * flat.element_size()
    for word in (torch.int64, torch.int32, torch.int16):
        if size % word.itemsize == 0 and flat.data_ptr() % word.itemsize == 0:
            return flat.view(word) if word.itemsize >= flat.element_size() else flat
    return flat.view(torch.uint8)
