"""From a plan's batch to the index tensors of one forward pass.

Owns the layout of an iteration: decode members by falling context (so that members of like length share a padded table), then the prefill
chunks. It does not know sampling or moves; the runner calls it after it has applied the plan to the handle table.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..core.errors import InvariantViolation
from ..core.plan import DecodeBatch, Int32s, Int64s, IterationPlan, PrefillChunk, no_int64
from ..kernels.dispatch import Kernels
from ..kernels.layout import PagedKv
from ..kernels.ragged import RaggedBatch
from .decoder import ForwardBatch
from .handles import HandleTable, Resident


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """A forward pass and where its samples belong: `handles`, `rows` and `positions` int64[s] in the order core/plan.py states.

    `fresh_pages` are pages that get their first token now, are not filled by it and must be cleared first; none where attention reads no further than
    a context.
    """

    forward: ForwardBatch
    handles: Int64s
    rows: Int64s
    positions: Int64s
    fresh_pages: Int64s


@dataclass(frozen=True, slots=True, eq=False)
class _DecodeOrder:
    """A decode batch sorted by falling context; holds as long as its members stay, since all contexts grow alike."""

    members: DecodeBatch
    version: int
    rows: Int64s
    sorted_rows: Int64s
    place: Int64s  # place[i]: row of the forward pass that computes member i


class BatchBuilder:
    """Builds batches against one handle table and pool; keeps what an unchanged decode batch can use again."""

    def __init__(self, table: HandleTable, kv: PagedKv, device: torch.device, kernels: Kernels, heads: int) -> None:
        """`heads`: of the model's queries."""
        self._table = table
        self._kv = kv
        self._device = device
        self._kernels = kernels
        self._clears = kernels.reads_behind(kv.layout, heads)
        self._order: _DecodeOrder | None = None

    def build(self, plan: IterationPlan, last_tokens: Tensor) -> Batch:
        """`last_tokens` int64[rows] on the device: each row's newest token, not necessarily known to the host yet.

        Raises InvariantViolation for a member without KV or pages, which would read what is not there.
        """
        order = self._decode_order(plan.decode)
        decode_positions = self._table.columns["known"][order.sorted_rows] - 1
        chunks = [(chunk, self._table.resident(chunk.handle)) for chunk in plan.prefills]
        _check_chunks(chunks)
        positions = np.concatenate([decode_positions, *(np.arange(c.start, c.start + c.length) for c, _ in chunks)])
        rows = np.concatenate([order.sorted_rows, *(np.full(c.length, job.row) for c, job in chunks)])
        pages, offsets = self._slots(rows, positions)
        sampled_rows, handles, sampled_positions, sampled = self._samples(plan, order, chunks)
        forward = ForwardBatch(
            tokens=self._tokens(order, chunks, last_tokens),
            positions=self._to_device(positions),
            attention=self._kernels.prepare(
                self._kv,
                self._ragged(order, decode_positions, chunks),
                self._to_device(pages * self._kv.layout.page_tokens + offsets),
            ),
            sampled=None if len(sampled) == len(rows) and not len(order.rows) else self._to_device(sampled),
        )
        fresh = self._fresh(pages, offsets, len(order.rows), chunks) if self._clears else no_int64()
        return Batch(forward, handles, sampled_rows, sampled_positions, fresh)

    def _decode_order(self, members: DecodeBatch) -> _DecodeOrder:
        order = self._order
        if order is None or order.members is not members or order.version != self._table.version:
            rows = self._table.rows_of(members.handles)
            falling = np.argsort(-self._table.columns["known"][rows], kind="stable")
            place = np.empty_like(falling)
            place[falling] = np.arange(len(rows))
            order = self._order = _DecodeOrder(members, self._table.version, rows, rows[falling], place)
        return order

    def _slots(self, rows: Int64s, positions: Int64s) -> tuple[Int64s, Int64s]:
        """Page and offset of each token."""
        index, offsets = np.divmod(positions, self._kv.layout.page_tokens)
        if len(rows) and (int(positions.min()) < 0 or bool((index >= self._table.columns["table_pages"][rows]).any())):
            raise InvariantViolation("The plan computes a token that no page of its job's block table has room for.")
        return self._table.tables[rows, index], offsets

    def _tokens(self, order: _DecodeOrder, chunks: list[tuple[PrefillChunk, Resident]], last_tokens: Tensor) -> Tensor:
        decode = last_tokens[self._to_device(order.sorted_rows)]
        if not chunks:
            return decode
        parts: list[Int32s] = [job.tokens[c.start : c.start + c.length] for c, job in chunks]
        return torch.cat([decode, self._to_device(np.concatenate(parts).astype(np.int64))])

    def _ragged(
        self, order: _DecodeOrder, decode_positions: Int64s, chunks: list[tuple[PrefillChunk, Resident]]
    ) -> RaggedBatch:
        """The decode members by falling context, then the chunks."""
        rows = np.concatenate([order.sorted_rows, np.array([job.row for _, job in chunks], dtype=np.int64)])
        ends = np.array([chunk.start + chunk.length for chunk, _ in chunks], dtype=np.int64)
        contexts = np.concatenate([decode_positions + 1, ends])
        counts = np.concatenate([np.ones(len(order.rows), np.int64), np.array([c.length for c, _ in chunks], np.int64)])
        width = int(-(-contexts.max() // self._kv.layout.page_tokens))
        starts = np.concatenate([[0], np.cumsum(counts)])
        return RaggedBatch(self._to_device(self._table.tables[rows, :width]), starts, contexts)

    def _samples(
        self, plan: IterationPlan, order: _DecodeOrder, chunks: list[tuple[PrefillChunk, Resident]]
    ) -> tuple[Int64s, Int64s, Int64s, Int64s]:
        """(table rows, handles, positions of the new tokens, rows of the forward pass), all in the outcome's order."""
        ends = np.cumsum([len(order.rows), *(c.length for c, _ in chunks)])[1:] - 1
        last = [i for i, (chunk, _) in enumerate(chunks) if chunk.last]
        rows = np.concatenate([order.rows, np.array([chunks[i][1].row for i in last], dtype=np.int64)])
        handles = np.concatenate([plan.decode.handles, np.array([chunks[i][0].handle for i in last], dtype=np.int64)])
        return (
            rows,
            handles,
            self._table.columns["known"][rows],
            np.concatenate([order.place, ends[last]]).astype(np.int64),
        )

    def _fresh(
        self, pages: Int64s, offsets: Int64s, decodes: int, chunks: list[tuple[PrefillChunk, Resident]]
    ) -> Int64s:
        page_tokens = self._kv.layout.page_tokens
        fresh = [pages[:decodes][offsets[:decodes] == 0]]
        end = decodes
        for chunk, _ in chunks:
            end += chunk.length
            tail = int(offsets[end - 1]) + 1
            if tail < page_tokens and tail <= chunk.length:
                fresh.append(pages[end - 1 : end])
        return np.concatenate(fresh)

    def _to_device(self, array: Int64s) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self._device, non_blocking=True)


def _check_chunks(chunks: list[tuple[PrefillChunk, Resident]]) -> None:
    for chunk, job in chunks:
        end = chunk.start + chunk.length
        if not 0 <= chunk.start < end <= len(job.tokens) or chunk.last != (end == len(job.tokens)):
            raise InvariantViolation(
                f"A prefill chunk [{chunk.start}, {end}) of handle {chunk.handle} does not fit the {len(job.tokens)} tokens it was admitted with."
            )
