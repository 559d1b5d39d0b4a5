"""How KV lies in a pool: one contiguous block per page, over all layers.

Owns `KvLayout` (the shape of a page) and `PagedKv` (views of a pool by layer that the kernels
index). It does not know who owns which page. kvstore/device allocates pools of this layout, kernels
read and write them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class KvLayout:
    """Shape of one page: [layers, 2 (key, value), kv_heads, page_tokens, head_dim], contiguous, so
    one copy moves it over all layers.
    """

    layers: int
    kv_heads: int
    page_tokens: int
    head_dim: int

    @property
    def page_elements(self) -> int:
        """Numbers in one page."""
        return self.layers * 2 * self.kv_heads * self.page_tokens * self.head_dim

    def page_bytes(self, dtype: torch.dtype) -> int:
        """Bytes of one page in `dtype`."""
        return self.page_elements * dtype.itemsize

    def pool_shape(self, pages: int) -> tuple[int, int, int, int, int, int]:
        """Shape of a pool of `pages` pages."""
        return (pages, self.layers, 2, self.kv_heads, self.page_tokens, self.head_dim)


class PagedKv:
    """A device pool as the kernels see it.

    `token_rows[l]`: view [rows, head_dim] that begins at layer l; the row of (page, kv, head,
    offset) is `page * layers*2*kv_heads*page_tokens + (kv * kv_heads + head) * page_tokens +
    offset`. `head_blocks[l]`: the same memory as [blocks, page_tokens * head_dim], one row per
    (page, kv, head). An index computed once per iteration so serves every layer.
    """

    def __init__(self, pool: Tensor, layout: KvLayout) -> None:
        assert pool.is_contiguous() and tuple(pool.shape[1:]) == layout.pool_shape(0)[1:]
        self.pool = pool
        self.layout = layout
        heads = 2 * layout.kv_heads
        tokens = pool.view(-1, layout.head_dim)
        blocks = pool.view(-1, layout.page_tokens * layout.head_dim)
        self.token_rows = [tokens[layer * heads * layout.page_tokens :] for layer in range(layout.layers)]
        self.head_blocks = [blocks[layer * heads :] for layer in range(layout.layers)]

    def layer_pointer(self, layer: int) -> int:
        """Address of layer `layer` of page 0."""
        layout = self.layout
        elements = layer * 2 * layout.kv_heads * layout.page_tokens * layout.head_dim
        return self.pool.data_ptr() + elements * self.pool.element_size()

    def write_index(self, pages: Tensor, offsets: Tensor) -> Tensor:
        """int64[n, 2 * kv_heads]: rows of `token_rows` where n tokens at (page, offset), int64[n]
        each, put their keys and values.
        """
        layout = self.layout
        heads = torch.arange(2 * layout.kv_heads, device=pages.device) * layout.page_tokens
        first = pages * (layout.layers * 2 * layout.kv_heads * layout.page_tokens) + offsets
        return first[:, None] + heads

    def gather_index(self, tables: Tensor) -> Tensor:
        """int64[2 * n * kv_heads * p]: rows of `head_blocks` in the order (kv, sequence, head,
        page) for block tables int64[n, p].
        """
        layout = self.layout
        first = tables * (layout.layers * 2 * layout.kv_heads)
        heads = torch.arange(2 * layout.kv_heads, device=tables.device).view(2, 1, layout.kv_heads, 1)
        return (first[None, :, None, :] + heads).reshape(-1)
