"""Pages that lie scattered in a pool, side by side in one buffer: what a move sends as one piece.

Owns the reference of gathering pages into a staging buffer and scattering them back, and the check
of page numbers. It does not know why they move. Tests compare the compiled kernels with it; a mover
calls one or the other.
"""

from __future__ import annotations

import torch
from torch import Tensor


def gather_pages(pool: Tensor, pages: Tensor, staging: Tensor, *, checked: bool = False) -> None:
    """staging[i] = pool[pages[i]] for pool[slots, ...], int64[n] pages and staging[n, ...], both
    contiguous and of one dtype.

    `checked` refuses pages outside of the pool, with IndexError.
    """
    if checked:
        check_pages(pool, pages)
    torch.index_select(pool, 0, pages, out=staging)


def scatter_pages(pool: Tensor, pages: Tensor, staging: Tensor, *, checked: bool = False) -> None:
    """pool[pages[i]] = staging[i]; shapes as in `gather_pages`. `checked` also refuses a page named
    twice.
    """
    if checked:
        check_pages(pool, pages, distinct=True)
    pool.index_copy_(0, pages, staging)


def check_pages(pool: Tensor, pages: Tensor, *, distinct: bool = False) -> None:
    """Raise IndexError for a page that `pool` does not have, or with `distinct` one that is named
    twice. On a device this waits for them.
    """
    if len(pages) and not 0 <= int(pages.min()) <= int(pages.max()) < len(pool):
        raise IndexError(f"A move names a page outside of the pool of {len(pool)}.")
    if distinct and len(torch.unique(pages)) != len(pages):
        raise IndexError("A move names a page twice.")
