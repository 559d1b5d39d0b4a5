"""Attention over block tables in plain torch: the reference that faster kernels are compared with.

Owns the write of keys and values into pages, decode attention for many sequences at once, and attention of one prefill chunk over its
cached prefix. It does not know jobs: it sees pages, offsets and lengths. The decoder calls it through `dispatch`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from .layout import PagedKv


@dataclass(frozen=True, slots=True)
class DecodeGroup:
    """Decode members whose tables are padded to one width: rows [first, first + size) of the iteration's tokens.

    `gather` is `PagedKv.gather_index` of their tables; `mask`, [size, 1, 1, width * page_tokens], adds minus infinity behind each context.
    """

    first: int
    size: int
    gather: Tensor
    mask: Tensor


@dataclass(frozen=True, slots=True)
class ChunkSpan:
    """One prefill chunk: rows [first, first + size) of the iteration's tokens; they see `context` tokens, themselves included.

    `mask`, [1, 1, size, context], is None when the chunk is the whole context (plain causal attention).
    """

    first: int
    size: int
    context: int
    gather: Tensor
    mask: Tensor | None


def decode_group(kv: PagedKv, first: int, tables: Tensor, contexts: Tensor, dtype: torch.dtype) -> DecodeGroup:
    """Index tensors of a decode group, once per iteration.

    `tables` int64[n, width], every entry a page of the row's own (padding included, so that no neighbour's numbers are ever touched);
    `contexts` int64[n], tokens to see, the new one included.
    """
    size, width = tables.shape
    positions = torch.arange(width * kv.layout.page_tokens, device=tables.device)
    mask = torch.zeros(size, len(positions), dtype=dtype, device=tables.device)
    mask.masked_fill_(positions >= contexts[:, None], float("-inf"))
    return DecodeGroup(first, size, kv.gather_index(tables), mask[:, None, None, :])


def chunk_span(kv: PagedKv, first: int, size: int, table: Tensor, context: int, dtype: torch.dtype) -> ChunkSpan:
    """Index tensors of a prefill chunk, once per iteration; `table` int64[pages] covers exactly `context` tokens."""
    mask = None
    if size != context:
        keys = torch.arange(context, device=table.device)
        mask = torch.zeros(size, context, dtype=dtype, device=table.device)
        mask.masked_fill_(keys > keys[context - size :, None], float("-inf"))
        mask = mask[None, None]
    return ChunkSpan(first, size, context, kv.gather_index(table[None]), mask)


def write_kv(kv: PagedKv, layer: int, index: Tensor, keys_values: Tensor) -> None:
    """Store keys_values[n, 2 * kv_heads, head_dim] (keys first) of n tokens at `PagedKv.write_index` rows."""
    kv.token_rows[layer].index_put_((index,), keys_values)


def decode_attention(kv: PagedKv, layer: int, group: DecodeGroup, queries: Tensor, out: Tensor) -> None:
    """Attention of one new token per sequence over its pages, all sequences at once.

    `queries` and `out`: [n, heads, head_dim] over all tokens of the iteration; the group's rows of `out` are filled. A KV head serves
    heads / kv_heads query heads, which go through as that many query positions.
    """
    layout = kv.layout
    keys, values = (
        kv.head_blocks[layer].index_select(0, group.gather).view(2, group.size, layout.kv_heads, -1, layout.head_dim)
    )
    rows = slice(group.first, group.first + group.size)
    grouped = queries[rows].view(group.size, layout.kv_heads, -1, layout.head_dim)
    out[rows] = scaled_dot_product_attention(grouped, keys, values, attn_mask=group.mask).view(
        group.size, -1, layout.head_dim
    )


def chunk_attention(kv: PagedKv, layer: int, span: ChunkSpan, queries: Tensor, out: Tensor) -> None:
    """Causal attention of one prefill chunk over its cached prefix and itself; shapes as in `decode_attention`."""
    layout = kv.layout
    gathered = kv.head_blocks[layer].index_select(0, span.gather).view(2, layout.kv_heads, 1, -1, layout.head_dim)
    rows = slice(span.first, span.first + span.size)
    grouped = queries[rows].view(span.size, layout.kv_heads, -1, layout.head_dim).permute(1, 2, 0, 3)
    keys, values = gathered[..., : span.context, :].expand(-1, -1, grouped.shape[1], -1, -1)
    mixed = scaled_dot_product_attention(grouped, keys, values, attn_mask=span.mask, is_causal=span.mask is None)
    out[rows] = mixed.permute(2, 0, 1, 3).reshape(span.size, -1, layout.head_dim)
