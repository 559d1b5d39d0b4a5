"""From a plan's batch to the index tensors of one forward pass.

Owns the layout of an iteration: decode members by falling context (so that members of like length
share a padded table), then the prefill chunks. It does not know sampling or moves; the runner calls
it after it has applied the plan to the handle table.
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
from ..model.decoder import ForwardBatch
from .handles import HandleTable, Resident
from .sampling.last_tokens import LastTokens
from .sampling.sampled_jobs import SampledJobs, sampled_jobs
from .upload import Upload


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """A forward pass and whom its samples belong to: `positions` int64[n] are the places of the new
    tokens of the n `jobs`, also on the device.

    `fresh_pages` are pages that get their first token now, are not filled by it and must be cleared
    first; none where attention reads no further than a context.
    """

    forward: ForwardBatch
    jobs: SampledJobs
    positions: Int64s
    positions_there: Tensor
    fresh_pages: Int64s


@dataclass(frozen=True, slots=True, eq=False)
class _DecodeOrder:
    """A decode batch sorted by falling context, on host and device (`there`); holds as long as its
    members stay, since all contexts grow alike.
    """

    members: DecodeBatch
    version: int
    jobs: SampledJobs
    rows: Int64s
    rows_there: Tensor
    place: Int64s  # place[i]: row of the forward pass that computes member i
    place_there: Tensor
    starts: Int64s  # of each member's query, and the end

    def __len__(self) -> int:
        return len(self.rows)


class BatchBuilder:
    """Builds batches against one handle table and pool; keeps what an unchanged decode batch can
    use again.
    """

    def __init__(self, table: HandleTable, kv: PagedKv, upload: Upload, kernels: Kernels, heads: int) -> None:
        """`heads`: of the model's queries."""
        self._table = table
        self._kv = kv
        self._upload = upload
        self._kernels = kernels
        self._clears = kernels.reads_behind(kv.layout, heads)
        self._order: _DecodeOrder | None = None

    def build(self, plan: IterationPlan, last_tokens: LastTokens) -> Batch:
        """The next forward pass. What it holds on the device is that iteration's, but what is kept
        with the decode order.

        Raises InvariantViolation for a member without KV or pages, which would read what is not
        there.
        """
        self._upload.begin()
        order = self._decode_order(plan.decode)
        chunks = [(chunk, self._table.resident(chunk.handle)) for chunk in plan.prefills]
        _check_chunks(chunks)
        known = self._table.columns["known"]
        contexts = known[order.rows]
        positions = _behind(contexts - 1, [np.arange(c.start, c.start + c.length) for c, _ in chunks])
        rows = _behind(order.rows, [np.full(c.length, job.row) for c, job in chunks])
        pages, offsets = self._slots(rows, positions)
        tables, starts, contexts, end = self._sequences(order, contexts, chunks)
        ending = self._ending(order, chunks)
        new_places = known[order.jobs.rows if ending is None else ending[1]]
        arrays = [positions, pages * self._kv.layout.page_tokens + offsets, tables, new_places]
        if chunks:
            prompt: list[Int32s] = [job.tokens[c.start : c.start + c.length] for c, job in chunks]
            arrays.append(np.concatenate(prompt).astype(np.int64))
        if ending is not None:
            arrays += ending[1:]
        positions_there, slots, tables_there, new_there, *of_chunks = self._upload.bring(*arrays)
        tokens, jobs, sampled = last_tokens.of(order.rows, order.rows_there), order.jobs, order.place_there
        if chunks:
            tokens = torch.cat([tokens, of_chunks[0]])
        if ending is not None:
            jobs, sampled = sampled_jobs(self._table, ending[0], ending[1], of_chunks[1]), of_chunks[2]
        ragged = RaggedBatch(tables_there, starts, contexts, self._upload.bring)
        forward = ForwardBatch(
            tokens,
            positions_there,
            end,
            self._kernels.prepare(self._kv, ragged, slots),
            None if len(jobs) == len(rows) and not len(order) else sampled,
        )
        fresh = self._fresh(pages, offsets, len(order), chunks) if self._clears else no_int64()
        return Batch(forward, jobs, new_places, new_there, fresh)

    def _decode_order(self, members: DecodeBatch) -> _DecodeOrder:
        order = self._order
        if order is None or order.members is not members or order.version != self._table.version:
            rows = self._table.rows_of(members.handles)
            falling = np.argsort(-self._table.columns["known"][rows], kind="stable")
            place = np.empty_like(falling)
            place[falling] = np.arange(len(rows))
            # Not `bring`: later iterations read them too.
            rows_there, falling_there, place_there = self._upload.keep(rows, rows[falling], place)
            order = self._order = _DecodeOrder(
                members,
                self._table.version,
                sampled_jobs(self._table, members.handles, rows, rows_there),
                rows[falling],
                falling_there,
                place,
                place_there,
                np.arange(len(rows) + 1),
            )
        return order

    def _slots(self, rows: Int64s, positions: Int64s) -> tuple[Int64s, Int64s]:
        """Page and offset of each token."""
        index, offsets = np.divmod(positions, self._kv.layout.page_tokens)
        if (index >= self._table.columns["table_pages"][rows]).any():
            raise InvariantViolation("The plan computes a token that no page of its job's block table has room for.")
        return self._table.tables[rows, index], offsets

    def _sequences(
        self, order: _DecodeOrder, contexts: Int64s, chunks: list[tuple[PrefillChunk, Resident]]
    ) -> tuple[Int64s, Int64s, Int64s, int]:
        """Block tables int64[s, width], starts and contexts of the decode members by falling
        context, then of the chunks; and the longest context.
        """
        rows = _behind(order.rows, [np.array([job.row for _, job in chunks])] if chunks else [])
        contexts = _behind(contexts, [np.array([c.start + c.length for c, _ in chunks])] if chunks else [])
        starts = _behind(order.starts, [len(order) + np.cumsum([c.length for c, _ in chunks])] if chunks else [])
        longest = int(contexts.max())
        return self._table.tables[rows, : -(-longest // self._kv.layout.page_tokens)], starts, contexts, longest

    def _ending(
        self, order: _DecodeOrder, chunks: list[tuple[PrefillChunk, Resident]]
    ) -> tuple[Int64s, Int64s, Int64s] | None:
        """Where a prompt ends, of the jobs that get a token: handles, rows of the table, and the
        rows of the forward pass that give the tokens.
        """
        last = [i for i, (chunk, _) in enumerate(chunks) if chunk.last]
        if not last:
            return None
        ends = len(order) + np.cumsum([c.length for c, _ in chunks]) - 1
        return (
            np.concatenate([order.jobs.handles, np.array([chunks[i][0].handle for i in last])]),
            np.concatenate([order.jobs.rows, np.array([chunks[i][1].row for i in last])]),
            np.concatenate([order.place, ends[last]]),
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


def _behind(decodes: Int64s, chunks: list[Int64s]) -> Int64s:
    """The decode members' numbers, and behind them the chunks'; where there are none, nothing is
    copied.
    """
    return np.concatenate([decodes, *chunks]) if chunks else decodes


def _check_chunks(chunks: list[tuple[PrefillChunk, Resident]]) -> None:
    for chunk, job in chunks:
        end = chunk.start + chunk.length
        if not 0 <= chunk.start < end <= len(job.tokens) or chunk.last != (end == len(job.tokens)):
            raise InvariantViolation(
                f"A prefill chunk [{chunk.start}, {end}) of handle {chunk.handle} does not fit the "
                f"{len(job.tokens)} tokens it was admitted with."
            )
