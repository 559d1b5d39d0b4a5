"""Attention over block tables in plain torch, for sequences padded to one width and for one prefill
chunk.

Owns the write of keys and values into pages, decode attention for many sequences at once, and
attention of one prefill chunk over its cached prefix. It does not know jobs: it sees pages, offsets
and lengths. `padded` calls it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from .layout import PagedKv
from .ragged_attention import AttentionShape


@dataclass(slots=True, eq=False)
class DecodeGroup:
    """Decode members whose tables are padded to one width: rows [first, first + size) of the
    iteration's tokens.

    `gather` is `PagedKv.gather_index` of their tables; `contexts` int64[size] tokens to see, the
    new one included; `width`: keys of the padded tables. `masks` by window: bool[size, 1, 1,
    width], false where a key is not seen; made when a layer first asks.
    """

    first: int
    size: int
    width: int
    contexts: Tensor
    gather: Tensor
    masks: dict[int | None, Tensor] = field(default_factory=dict)

    def mask(self, window: int | None) -> Tensor:
        """The mask of layers with that window."""
        found = self.masks.get(window)
        if found is None:
            positions = torch.arange(self.width, device=self.contexts.device)
            ends = self.contexts[:, None]
            found = positions < ends
            if window is not None:
                found &= positions >= ends - window
            found = self.masks[window] = found[:, None, None, :]
        return found


@dataclass(slots=True, eq=False)
class ChunkSpan:
    """One prefill chunk: rows [first, first + size) of the iteration's tokens; they see `context`
    tokens, themselves included.

    `masks` as those of `DecodeGroup`, bool[1, 1, size, context].
    """

    first: int
    size: int
    context: int
    gather: Tensor
    masks: dict[int | None, Tensor | None] = field(default_factory=dict)

    def mask(self, window: int | None) -> Tensor | None:
        """The mask of layers with that window; None where the chunk is the whole context and sees
        all of it: plain causal attention.
        """
        if window is not None and window >= self.context:
            window = None
        if window not in self.masks:
            self.masks[window] = self._mask(window)
        return self.masks[window]

    def _mask(self, window: int | None) -> Tensor | None:
        if window is None and self.size == self.context:
            return None
        keys = torch.arange(self.context, device=self.gather.device)
        queries = keys[self.context - self.size :, None]
        seen = keys <= queries
        if window is not None:
            seen &= keys > queries - window
        return seen[None, None]


def decode_group(kv: PagedKv, first: int, tables: Tensor, contexts: Tensor) -> DecodeGroup:
    """Index tensors of a decode group, once per iteration.

    `tables` int64[n, width], every entry a page of the row's own (padding included, so that no
    neighbour's numbers are ever touched); `contexts` int64[n], tokens to see, the new one included.
    """
    size, width = tables.shape
    return DecodeGroup(first, size, width * kv.layout.page_tokens, contexts, kv.gather_index(tables))


def chunk_span(kv: PagedKv, first: int, size: int, table: Tensor, context: int) -> ChunkSpan:
    """Index tensors of a prefill chunk, once per iteration; `table` int64[pages] covers exactly
    `context` tokens.
    """
    return ChunkSpan(first, size, context, kv.gather_index(table[None]))


def write_kv(kv: PagedKv, layer: int, index: Tensor, keys_values: Tensor) -> None:
    """Store keys_values[n, 2 * kv_heads, head_dim] (keys first) of n tokens at
    `PagedKv.write_index` rows.
    """
    kv.token_rows[layer].index_put_((index,), keys_values)


def decode_attention(
    kv: PagedKv, layer: int, shape: AttentionShape, group: DecodeGroup, queries: Tensor, out: Tensor
) -> None:
    """Attention of one new token per sequence over its pages, all sequences at once.

    `queries` and `out`: [n, heads, head_dim] over all tokens of the iteration; the group's rows of
    `out` are filled. A KV head serves heads / kv_heads query heads, which go through as that many
    query positions.
    """
    layout = kv.layout
    keys, values = (
        kv.head_blocks[layer].index_select(0, group.gather).view(2, group.size, layout.kv_heads, -1, layout.head_dim)
    )
    rows = slice(group.first, group.first + group.size)
    grouped = queries[rows].view(group.size, layout.kv_heads, -1, layout.head_dim)
    mixed = _mix(grouped, keys, values, shape, group.mask(shape.window))
    out[rows] = mixed.view(group.size, -1, layout.head_dim)


def chunk_attention(
    kv: PagedKv, layer: int, shape: AttentionShape, span: ChunkSpan, queries: Tensor, out: Tensor
) -> None:
    """Causal attention of one prefill chunk over its cached prefix and itself; shapes as in
    `decode_attention`.
    """
    layout = kv.layout
    gathered = kv.head_blocks[layer].index_select(0, span.gather).view(2, layout.kv_heads, 1, -1, layout.head_dim)
    rows = slice(span.first, span.first + span.size)
    grouped = queries[rows].view(span.size, layout.kv_heads, -1, layout.head_dim).permute(1, 2, 0, 3)
    keys, values = gathered[..., : span.context, :].expand(-1, -1, grouped.shape[1], -1, -1)
    mixed = _mix(grouped, keys, values, shape, span.mask(shape.window))
    out[rows] = mixed.permute(2, 0, 1, 3).reshape(span.size, -1, layout.head_dim)


def _mix(queries: Tensor, keys: Tensor, values: Tensor, shape: AttentionShape, mask: Tensor | None) -> Tensor:
    """softmax(q k^T * scale) v over the last two dimensions, as `shape` says; `mask` None: causal,
    queries and keys begin together.
    """
    if shape.softcap is None:
        return scaled_dot_product_attention(
            queries, keys, values, attn_mask=mask, is_causal=mask is None, scale=shape.scale
        )
    wide = torch.float32 if queries.dtype in (torch.float16, torch.bfloat16) else queries.dtype
    scores = (queries.to(wide) @ keys.to(wide).transpose(-2, -1)).mul_(shape.scale / shape.softcap).tanh_()
    if mask is None:
        mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril_()
    shares = scores.mul_(shape.softcap).masked_fill_(~mask, float("-inf")).softmax(dim=-1)
    return (shares @ values.to(wide)).to(queries.dtype)
