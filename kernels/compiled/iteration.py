"""One iteration for the compiled kernels: what is cut once serves every layer.

Owns `CompiledBatch` and the form that a decoder calls rotation, write and attention in. It computes
nothing itself: `slots` and `attention` launch. `dispatch` makes the set from it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from ..layout import PagedKv
from ..ragged import RaggedBatch
from ..ragged_attention import AttentionShape
from . import attention, slots
from .tiles import Tiles


@dataclass(slots=True, eq=False)
class CompiledBatch:
    """`slots` int64[rows] on the device; `tiles` by heads and window, cut when a layer first asks."""

    ragged: RaggedBatch
    slots: Tensor
    tiles: dict[tuple[int, int | None], Tiles] = field(default_factory=dict)


def prepare(kv: PagedKv, batch: RaggedBatch, places: Tensor) -> CompiledBatch:
    """`places` int64[rows]: page * page_tokens + offset of each row's token."""
    assert len(places) == batch.rows
    return CompiledBatch(batch, places)


def rotate_and_write(kv: PagedKv, layer: int, qkv: Tensor, cos: Tensor, sin: Tensor, batch: CompiledBatch) -> None:
    """As the reference in `padded`."""
    slots.rotate_and_write(kv, layer, qkv, cos, sin, batch.slots)


def attend(kv: PagedKv, layer: int, shape: AttentionShape, batch: CompiledBatch, queries: Tensor, out: Tensor) -> None:
    """As `ragged_attention.attend`."""
    key = shape.heads, shape.window
    tiles = batch.tiles.get(key)
    if tiles is None:
        tiles = batch.tiles[key] = attention.tiles_for(kv, shape, batch.ragged)
    attention.attend(kv, layer, shape, batch.ragged, queries, out, tiles=tiles)
