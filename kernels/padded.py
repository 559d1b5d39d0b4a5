"""Attention of a ragged batch in plain torch, many sequences at once: what a CPU computes where
nothing is compiled for it.

Owns `PaddedBatch`, an iteration cut into decode groups of one width and prefill chunks, and the
operations of a decoder over it. It knows neither jobs nor layers' weights. The decoder calls it
through `dispatch`; `ragged_attention.attend` is what it must agree with.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .elementwise import rotate_
from .layout import PagedKv
from .paged_attention import (
    ChunkSpan,
    DecodeGroup,
    chunk_attention,
    chunk_span,
    decode_attention,
    decode_group,
    write_kv,
)
from .ragged import RaggedBatch, pages_of
from .ragged_attention import AttentionShape

MIN_PAGES_SAVED = 32
"""A group of its own must spare at least this many padded pages: below it one more kernel call a
layer costs more.
"""


@dataclass(frozen=True, slots=True, eq=False)
class PaddedBatch:
    """`write` as `PagedKv.write_index`; `groups` and `chunks` cover all rows of the iteration."""

    write: Tensor
    groups: tuple[DecodeGroup, ...]
    chunks: tuple[ChunkSpan, ...]


def prepare(kv: PagedKv, batch: RaggedBatch, slots: Tensor) -> PaddedBatch:
    """Index tensors of an iteration. `slots` int64[rows]: page * page_tokens + offset of each row's
    token, as in `slots`.

    Sequences with one row are to stand by falling context: neighbours then share a padded table.
    """
    page_tokens = kv.layout.page_tokens
    write = kv.write_index(torch.div(slots, page_tokens, rounding_mode="floor"), slots % page_tokens)
    return PaddedBatch(write, tuple(_groups(kv, batch)), tuple(_spans(kv, batch)))


def rotate_and_write(kv: PagedKv, layer: int, qkv: Tensor, cos: Tensor, sin: Tensor, batch: PaddedBatch) -> None:
    """Turn the query and key heads of qkv[n, heads + 2 * kv_heads, head_dim] in place and write
    keys and values into their pages.

    `cos` and `sin` [n, 1, turned / 2] as `elementwise.rotary_angles`: the first `turned` elements
    of a head are turned; none where they are empty.
    """
    first_key = qkv.shape[1] - 2 * kv.layout.kv_heads
    turned = 2 * cos.shape[-1]
    if turned:
        rotate_(qkv[:, : first_key + kv.layout.kv_heads, :turned], cos, sin)
    write_kv(kv, layer, batch.write, qkv[:, first_key:])


def attend(kv: PagedKv, layer: int, shape: AttentionShape, batch: PaddedBatch, queries: Tensor, out: Tensor) -> None:
    """As `ragged_attention.attend`, over what `prepare` made."""
    for group in batch.groups:
        decode_attention(kv, layer, shape, group, queries, out)
    for chunk in batch.chunks:
        chunk_attention(kv, layer, shape, chunk, queries, out)


def _groups(kv: PagedKv, batch: RaggedBatch) -> Iterator[DecodeGroup]:
    """Runs of sequences with one row, cut where the rest is at most half as wide and enough padding
    is spared.
    """
    counts = batch.counts
    pages = pages_of(batch.contexts, kv.layout.page_tokens)
    single = np.flatnonzero(counts == 1)
    for run in np.split(single, np.flatnonzero(np.diff(single) != 1) + 1):
        first = 0
        while first < len(run):
            widths = pages[run[first:]]
            width, cut = int(widths[0]), len(run)
            narrow = first + int(np.argmax(np.append(widths <= width // 2, True)))
            if narrow < cut and (len(run) - narrow) * (width - int(pages[run[narrow]])) >= MIN_PAGES_SAVED:
                cut = narrow
            members = run[first:cut]
            width = int(pages[members].max())
            tables = batch.tables[int(members[0]) : int(members[-1]) + 1, :width].long()
            # Padding repeats a page of the row's own, so that no neighbour's numbers are ever
            # touched.
            own = torch.from_numpy(np.arange(width) < pages[members][:, None]).to(tables.device)
            contexts = torch.from_numpy(batch.contexts[members]).to(tables.device)
            tables = torch.where(own, tables, tables[:, :1])
            yield decode_group(kv, int(batch.starts[members[0]]), tables, contexts)
            first = cut


def _spans(kv: PagedKv, batch: RaggedBatch) -> Iterator[ChunkSpan]:
    counts = batch.counts
    pages = pages_of(batch.contexts, kv.layout.page_tokens)
    for i in np.flatnonzero(counts > 1).tolist():
        table = batch.tables[i, : int(pages[i])].long()
        yield chunk_span(kv, int(batch.starts[i]), int(counts[i]), table, int(batch.contexts[i]))
