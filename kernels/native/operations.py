"""A decoder's operations on a CPU, through the compiled functions.

Owns the checks in front of every call, the tiles of an iteration's attention and the choice between
one thread and all of them. It knows neither jobs nor weights. `dispatch` takes the set from here;
what each operation computes is stated at its reference.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .. import elementwise, padded
from ..layout import KvLayout, PagedKv
from ..padded import PaddedBatch
from ..ragged import RaggedBatch
from ..ragged_attention import AttentionShape
from .library import Library

_ALONE_NORM = 2**16
_ALONE_GATE = 2**14
_ALONE_WRITE = 2**16
_ALONE_ATTEND = 2**16
"""Numbers up to which one thread works alone: waking the others costs some microseconds, and
without bound on a busy machine.
"""


@dataclass(slots=True, eq=False)
class NativeBatch:
    """An iteration of `rows` rows as `attend` and `rotate_and_write` take it.

    `read`: numbers that attention reads of one KV head's keys and values.
    """

    ragged: RaggedBatch
    rows: int
    slots: Tensor
    tables: Tensor
    read: int
    _items: dict[int, Tensor] = field(default_factory=dict)
    _padded: PaddedBatch | None = None

    def padded(self, kv: PagedKv) -> PaddedBatch:
        """The same iteration for plain torch."""
        if self._padded is None:
            self._padded = padded.prepare(kv, self.ragged, self.slots)
        return self._padded

    def items(self, queries: int) -> Tensor:
        """int64[n, 4], contiguous: sequence, first row, rows and position of the first row of each
        tile of at most `queries` rows.
        """
        found = self._items.get(queries)
        if found is None:
            found = self._items[queries] = torch.from_numpy(_cut(self.ragged, queries))
        return found


def _cut(batch: RaggedBatch, queries: int) -> NDArray[np.int64]:
    counts = batch.counts
    tiles = -(-counts // queries)
    sequence = np.repeat(np.arange(len(counts)), tiles)
    first = (np.arange(len(sequence)) - np.repeat(np.cumsum(tiles) - tiles, tiles)) * queries
    rows = np.minimum(queries, counts[sequence] - first)
    items = np.empty((len(sequence), 4), np.int64)
    items[:, 0], items[:, 1], items[:, 2] = sequence, batch.starts[sequence] + first, rows
    items[:, 3] = (batch.contexts - counts)[sequence] + first
    return items


class NativeOperations:
    """The operations over one library."""

    def __init__(self, library: Library, dtype: torch.dtype) -> None:
        self._library = library
        self._dtype = dtype

    def fits(self, layout: KvLayout, heads: int) -> bool:
        """Whether attention over heads of that size and number is compiled; plain torch has the
        others.
        """
        fitting = layout.head_dim % self._library.lanes == 0 and layout.head_dim <= self._library.longest_head
        return fitting and heads // layout.kv_heads <= self._library.tile_pairs

    def rms_norm(self, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        """As the reference."""
        if x.shape[-1] % self._library.lanes:
            return elementwise.rms_norm(x, weight, eps)
        return self._norm(x.contiguous(), None, weight, eps)

    def add_rms_norm_(self, x: Tensor, residual: Tensor, weight: Tensor, eps: float) -> Tensor:
        """As the reference."""
        if x.shape[-1] % self._library.lanes or not residual.is_contiguous():
            return elementwise.add_rms_norm_(x, residual, weight, eps)
        assert residual.shape == x.shape and residual.dtype is self._dtype
        return self._norm(x.contiguous(), residual, weight, eps)

    def _norm(self, x: Tensor, residual: Tensor | None, weight: Tensor, eps: float) -> Tensor:
        hidden = x.shape[-1]
        assert (
            x.dtype is weight.dtype is self._dtype
            and weight.is_contiguous()
            and x.shape[-weight.ndim :] == weight.shape
        )
        out = torch.empty_like(x)
        into = None if residual is None else residual.data_ptr()
        count = x.numel()
        self._library.rms_norm(
            x.data_ptr(), into, weight.data_ptr(), out.data_ptr(), count // hidden, hidden, weight.numel() // hidden,
            eps,
            _threads(count, _ALONE_NORM),
        )  # fmt: skip
        return out

    def silu_gate(self, gate_up: Tensor) -> Tensor:
        """As the reference."""
        return self._gate(gate_up, 0)

    def gelu_gate(self, gate_up: Tensor) -> Tensor:
        """As the reference."""
        return self._gate(gate_up, 1)

    def _gate(self, gate_up: Tensor, gelu: int) -> Tensor:
        assert gate_up.dtype is self._dtype and gate_up.shape[1] % 2 == 0
        gate_up = gate_up.contiguous()
        rows, both = gate_up.shape
        out = gate_up.new_empty(rows, both // 2)
        threads = _threads(rows * both, _ALONE_GATE)
        self._library.gate(gate_up.data_ptr(), out.data_ptr(), rows, both // 2, gelu, threads)
        return out

    def prepare(self, kv: PagedKv, batch: RaggedBatch, slots: Tensor) -> NativeBatch:
        """An iteration's tables and slots, as the functions read them."""
        rows, tables = batch.rows, batch.tables
        assert slots.shape[0] == rows and slots.is_contiguous()
        tables = tables if tables.dtype is torch.int64 else tables.long()
        tables = tables if tables.stride(-1) == 1 else tables.contiguous()
        read = int(batch.contexts.sum()) * 2 * kv.layout.head_dim
        return NativeBatch(batch, rows, slots, tables, read)

    def rotate_and_write(
        self, kv: PagedKv, layer: int, qkv: Tensor, cos: Tensor, sin: Tensor, batch: NativeBatch
    ) -> None:
        """As the reference in `padded`."""
        layout, rows, half = kv.layout, batch.rows, cos.shape[-1]
        assert qkv.is_contiguous() and cos.is_contiguous() and sin.is_contiguous() and 2 * half <= layout.head_dim
        assert qkv.dtype is cos.dtype is sin.dtype is kv.pool.dtype is self._dtype
        assert qkv.shape[0] == rows == cos.shape[0] == sin.shape[0] and qkv.shape[2] == layout.head_dim
        self._library.rotate_and_write(
            qkv.data_ptr(), cos.data_ptr(), sin.data_ptr(), batch.slots.data_ptr(), kv.layer_pointer(layer), rows,
            qkv.shape[1] - 2 * layout.kv_heads, layout.kv_heads, layout.head_dim, half, layout.page_tokens,
            layout.page_elements, _threads(qkv.numel(), _ALONE_WRITE),
        )  # fmt: skip

    def attend(
        self, kv: PagedKv, layer: int, shape: AttentionShape, batch: NativeBatch, queries: Tensor, out: Tensor
    ) -> None:
        """As `ragged_attention.attend`."""
        layout, group = kv.layout, shape.heads // kv.layout.kv_heads
        if not self.fits(layout, shape.heads):
            padded.attend(kv, layer, shape, batch.padded(kv), queries, out)
            return
        assert queries.dtype is out.dtype is kv.pool.dtype is self._dtype and out.is_contiguous()
        assert queries.shape[1:] == out.shape[1:] == (shape.heads, layout.head_dim) and out.shape[0] >= batch.rows
        assert queries.shape[0] >= batch.rows and queries.stride(2) == 1 and queries.stride(1) == layout.head_dim
        items = batch.items(self._library.tile_pairs // group)
        self._library.attend(
            queries.data_ptr(), out.data_ptr(), kv.layer_pointer(layer), batch.tables.data_ptr(), items.data_ptr(),
            items.shape[0], queries.stride(0), batch.tables.stride(0), layout.page_elements, group, layout.kv_heads,
            layout.head_dim, layout.page_tokens, shape.window or 0, shape.scale, shape.softcap or 0.0,
            _threads(batch.read * layout.kv_heads, _ALONE_ATTEND),
        )  # fmt: skip


def _threads(count: int, alone: int) -> int:
    return 1 if count <= alone else torch.get_num_threads()
