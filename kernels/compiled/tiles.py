"""A ragged batch cut into the pieces that one launch computes.

Owns `Tiles`: which rows and which keys each program of the attention kernel takes, and which
partial results belong together. It knows numbers only, no tensor of keys. Made once per iteration,
on the host, and used by every layer; the attention's launcher reads it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ..bring import Bring
from ..ragged import RaggedBatch
from .size_file import AttentionSizes

ITEM_COLUMNS = 8
MERGE_COLUMNS = 4


@dataclass(frozen=True, slots=True, eq=False)
class Tiles:
    """`items` int32[n, 8]: sequence, first row, rows, position of the first row, first key, end of
    keys, slot of the partial result, 0.

    A slot of -1 means that the item sees all keys of its rows and writes the answer itself.
    `merges` int32[m, 4]: first row, rows, first slot, slots. Both lie where they were brought.
    `slots`: partial results of one KV head; `sizes` as they were cut.
    """

    items: Tensor
    merges: Tensor
    slots: int
    sizes: AttentionSizes


def cut(batch: RaggedBatch, group: int, window: int | None, sizes: AttentionSizes, bring: Bring) -> Tiles:
    """Tiles for `group` query heads a KV head, which lie beside each other in a tile's rows;
    `bring` says where they are to be.
    """
    sequence, first, count = _row_tiles(batch, sizes.rows // group)
    counts = batch.counts
    position = (batch.contexts - counts)[sequence] + first
    end_key = position + count
    first_key = np.zeros_like(end_key) if window is None else np.maximum(position - window + 1, 0)
    length = np.where(counts[sequence] == 1, sizes.decode_split, sizes.chunk_split)
    parts = (end_key - 1) // length - first_key // length + 1
    tile, part = _expand(parts)
    piece = (first_key // length)[tile] + part
    split = parts > 1
    slot = np.where(split[tile], np.cumsum(split[tile]) - 1, -1)
    row = batch.starts[sequence] + first
    items = np.zeros((len(tile), ITEM_COLUMNS), dtype=np.int32)
    columns = (
        sequence[tile],
        row[tile],
        count[tile],
        position[tile],
        np.maximum(first_key[tile], piece * length[tile]),
        np.minimum(end_key[tile], (piece + 1) * length[tile]),
        slot,
    )
    for i, column in enumerate(columns):
        items[:, i] = column
    merges = np.zeros((int(split.sum()), MERGE_COLUMNS), dtype=np.int32)
    merges[:, 0], merges[:, 1], merges[:, 3] = row[split], count[split], parts[split]
    merges[:, 2] = np.cumsum(parts[split]) - parts[split]
    items_there, merges_there = bring(items, merges)
    return Tiles(items_there, merges_there, int(parts[split].sum()), sizes)


def _row_tiles(batch: RaggedBatch, queries: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """(sequence, first query within it, queries) of each tile of at most `queries` rows of one
    sequence.
    """
    counts = batch.counts
    sequence, tile = _expand(-(-counts // queries))
    first = tile * queries
    return sequence, first, np.minimum(queries, counts[sequence] - first)


def _expand(counts: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(owner, number within the owner) for `counts[i]` things of each owner i."""
    owner = np.repeat(np.arange(len(counts)), counts)
    return owner, np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)
