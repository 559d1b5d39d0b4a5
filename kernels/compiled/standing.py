"""The compiled kernels' batch for replays: tables, slots and tiles in buffers that never move.

Owns `CompiledStanding`: the buffers, how much room a launch has for tiles, and what fills the rest.
It knows pages and heads, neither jobs nor graphs. `dispatch` hands it out, `executor/graphs` fills
it before each replay.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..bring import brings_to
from ..layout import PagedKv
from ..ragged import RaggedBatch
from ..ragged_attention import AttentionShape
from .iteration import CompiledBatch
from .size_file import AttentionSizes
from .tiles import ITEM_COLUMNS, MERGE_COLUMNS, Tiles, cut
from .tuning import attention_sizes

_STEP_BITS = 2
"""From one level to the next the room for tiles grows four times. A tile that does nothing ends
after one load, so that a coarse step costs little and spares graphs.
"""

_SLOT = 6  # of an item: where its partial result goes, -1 for none

_stay = brings_to(torch.device("cpu"))


@dataclass(frozen=True, slots=True, eq=False)
class _Kind:
    """Layers whose tiles are the same. `parts`: pieces that one decode's context is cut into at
    most.
    """

    heads: int
    window: int | None
    sizes: AttentionSizes
    parts: int
    items: Tensor
    merges: Tensor


class CompiledStanding:
    """As `StandingBatch`, of `CompiledBatch`es. `width`: entries of the longest table."""

    def __init__(self, kv: PagedKv, shapes: Sequence[AttentionShape], rows: int, width: int) -> None:
        self._kv = kv
        device = kv.pool.device
        self._tables = torch.zeros(rows, width, dtype=torch.int64, device=device)
        self._slots = torch.full((rows,), -1, dtype=torch.int64, device=device)
        self._pool_tokens = len(kv.pool) * kv.layout.page_tokens
        kinds = dict.fromkeys((shape.heads, shape.window) for shape in shapes)
        self._kinds = tuple(self._kind(heads, window, rows, width) for heads, window in kinds)

    def levels(self, rows: int) -> int:
        """At level 0 no context is cut; the last has room for whatever the pool holds."""
        most, level = max(self._most(kind.parts, kind.sizes, rows) for kind in self._kinds), 0
        while rows << (_STEP_BITS * level) < most:
            level += 1
        return level + 1

    def view(self, rows: int, level: int) -> CompiledBatch:
        # Nothing reads starts and contexts: the tiles are there already.
        ragged = RaggedBatch(self._tables[:rows], np.arange(rows + 1, dtype=np.int64), np.ones(rows, dtype=np.int64))
        tiles = {}
        for kind in self._kinds:
            room = self._room(kind, rows, level)
            merges, slots = (rows, room) if room > rows else (0, 0)
            tiles[kind.heads, kind.window] = Tiles(kind.items[:room], kind.merges[:merges], slots, kind.sizes)
        return CompiledBatch(ragged, self._slots[:rows], tiles)

    def fill(self, batch: CompiledBatch, rows: int) -> int | None:
        ragged = batch.ragged
        count, width = ragged.tables.shape
        if ragged.longest != 1 or ragged.rows != count or count > rows or width > self._tables.shape[1]:
            return None
        group = self._kv.layout.kv_heads
        cuts = [cut(ragged, kind.heads // group, kind.window, kind.sizes, _stay) for kind in self._kinds]
        level = self._level(cuts, rows)
        if level is None:
            return None
        self._tables[:count, :width].copy_(ragged.tables)
        self._slots[:count].copy_(batch.slots)
        if count < rows:
            self._slots[count:rows].fill_(-1)
        buffers, entries = [], []
        for kind, tiles in zip(self._kinds, cuts, strict=True):
            room = self._room(kind, rows, level)
            buffers.append(kind.items[:room])
            entries.append(_padded(tiles.items, room))
            if room > rows:
                buffers.append(kind.merges[:rows])
                entries.append(_padded(tiles.merges, rows))
        bring = ragged.bring or brings_to(self._slots.device)
        for buffer, there in zip(buffers, bring(*entries), strict=True):
            buffer.copy_(there)
        return level

    def _kind(self, heads: int, window: int | None, rows: int, width: int) -> _Kind:
        layout, device = self._kv.layout, self._kv.pool.device
        sizes = attention_sizes(device, self._kv.pool.dtype, heads // layout.kv_heads, layout.head_dim, False)
        parts = -(-width * layout.page_tokens // sizes.decode_split)
        if window is not None:
            parts = min(parts, -(-(window - 1) // sizes.decode_split) + 1)
        items = torch.from_numpy(_nothing(self._most(parts, sizes, rows))).to(device)
        merges = torch.zeros(rows, MERGE_COLUMNS, dtype=torch.int32, device=device)
        return _Kind(heads, window, sizes, parts, items, merges)

    def _most(self, parts: int, sizes: AttentionSizes, rows: int) -> int:
        """Tiles of `rows` decodes at most: every context is in the pool, and each ends in one piece
        that is not full.
        """
        return min(rows * parts, rows + self._pool_tokens // sizes.decode_split)

    def _room(self, kind: _Kind, rows: int, level: int) -> int:
        return min(rows << (_STEP_BITS * level), self._most(kind.parts, kind.sizes, rows))

    def _level(self, cuts: Sequence[Tiles], rows: int) -> int | None:
        """The first level with room for all; where a kind has no more tiles than rows, nothing of
        it may be cut, for nothing would be merged.
        """
        for level in range(self.levels(rows)):
            rooms = [self._room(kind, rows, level) for kind in self._kinds]
            if all(
                len(tiles.items) <= room and (room > rows or not len(tiles.merges))
                for tiles, room in zip(cuts, rooms, strict=True)
            ):
                return level
        return None


def _nothing(count: int) -> NDArray[np.int32]:
    """Items without rows and keys, which write nowhere."""
    items = np.zeros((count, ITEM_COLUMNS), dtype=np.int32)
    items[:, _SLOT] = -1
    return items


def _padded(entries: Tensor, count: int) -> NDArray[np.int32]:
    """`entries` of items or merges, and behind them such as do nothing: a merge without rows and
    slots is all zeros.
    """
    there = entries.numpy()
    padded = _nothing(count) if there.shape[1] == ITEM_COLUMNS else np.zeros((count, MERGE_COLUMNS), dtype=np.int32)
    padded[: len(there)] = there
    return padded
