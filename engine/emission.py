"""Tokens come out of an iteration: where they belong, and which jobs they end.

Owns the columns of the decode batch (rows, positions, stops), the ring of recent tokens and the
calendar of output limits, so that an unchanged turn touches no job. It does not know policy or
pages; engine/state asks it after every outcome.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import compress
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ..core.effects import TokensEmitted
from ..core.ids import Handle
from ..core.job import FinishReason
from ..core.outcome import IterationOutcome
from ..core.plan import NO_DECODE, NO_INT32, NO_INT64, DecodeBatch, Int32s, Int64s, IterationPlan
from ..kvstore.job_kv import DECODE
from ..kvstore.planning.due_steps import StepCalendar
from .ring import TokenRing
from .rows import Row

Ending = tuple[Row, FinishReason]
_Number = TypeVar("_Number", np.int32, np.int64, np.bool_)


class Emission:
    """`end_tokens` end a job unless it ignores them; `token_bytes` gives the bytes of a token, for
    stop strings.
    """

    def __init__(
        self, max_batch: int, vocab_size: int, end_tokens: frozenset[int], token_bytes: Sequence[bytes] | None
    ) -> None:
        self._ring = TokenRing(max_batch)
        self._end_tokens = frozenset(token for token in end_tokens if token < vocab_size)
        self._is_end = np.zeros(max(vocab_size, 1), dtype=bool)
        self._is_end[list(self._end_tokens)] = True
        self._has_ends = bool(self._end_tokens)
        self._token_bytes = token_bytes
        self._limits: StepCalendar[Row] = StepCalendar()
        self._batch: DecodeBatch = NO_DECODE
        self._whole = True
        """Whether all of `_batch` still decode: between a job's end and the next batch there may be
        an iteration that holds it.
        """
        self._rows: list[Row] = []
        self._offsets: Int32s = NO_INT32
        self._slots: Int64s = NO_INT64
        self._obeys = np.zeros(0, dtype=bool)
        self._anybody_obeys = False
        self._watched: list[tuple[int, Row]] = []

    @property
    def knows_bytes(self) -> bool:
        """Whether stop strings can be matched."""
        return self._token_bytes is not None

    # the batch ------------------------------------------------------------------------------------
    def leave(self, row: Row, steps: int) -> None:
        """The job decodes no more; `row.out` is complete."""
        if row.slot >= 0:
            self._ring.leave(row, steps)
            self._whole = False

    def forget(self, row: Row) -> None:
        """The job ended: nobody asks for its tokens any more."""
        if row.slot >= 0:
            self._ring.forget(row)
            self._whole = False

    def arrange(self, batch: DecodeBatch, came: Sequence[Row], steps: int) -> None:
        """Columns for the batch that is launched: those of the last one that did not leave, in
        their order, then `came`, who decode from iteration `steps` on. Nothing to do for the same
        object.
        """
        if batch is self._batch:
            return
        self._batch, self._whole = batch, True
        stays = [row.slot >= 0 for row in self._rows]
        if not all(stays):
            kept = np.array(stays, dtype=bool)
            self._rows = list(compress(self._rows, stays))
            self._offsets, self._slots, self._obeys = self._offsets[kept], self._slots[kept], self._obeys[kept]
        if came:
            self._join(came, steps)
        self._anybody_obeys = self._has_ends and bool(self._obeys.any())
        if self._watched or any(row.watched for row in came):
            self._watched = [(at, row) for at, row in enumerate(self._rows) if row.watched]

    def _join(self, came: Sequence[Row], steps: int) -> None:
        """They stand at the end of the columns."""
        slots = self._ring.enter(came, steps)
        add, offsets, obeys = self._limits.add, [], []
        for row in came:
            kv = row.kv
            generated = kv.generated
            add(steps + kv.max_new_tokens - generated - 1, row)
            # What a member's tokens number less the iterations is the same for as long as it
            # decodes.
            offsets.append(generated - kv.since_step)
            obeys.append(row.obeys_end)
        self._rows += came
        self._offsets = _longer(self._offsets, offsets)
        self._slots = _longer(self._slots, slots)
        self._obeys = _longer(self._obeys, obeys)

    # iterations in which nobody ends --------------------------------------------------------------
    @property
    def looks_at_tokens(self) -> bool:
        """Whether a token may end a member of the batch; else only its number does."""
        return self._anybody_obeys or bool(self._watched)

    def may_end(self, step: int) -> bool:
        """Whether somebody's output may be as long as it may be with the token of iteration `step`."""
        return self._limits.peek(step) is not None

    def absorb_run(self, first: int, last: int, token: int) -> None:
        """`token` for every member of the standing batch in iterations `first` to before `last`,
        none of which ends anybody.
        """
        self._ring.write_run(first, last, self._slots, token, self._rows)

    # one job's token ------------------------------------------------------------------------------
    def ends(self, row: Row, token: int) -> bool:
        """Whether this token ends the job by an end token, a stop id or a stop string."""
        if row.obeys_end and token in self._end_tokens:
            return True
        return row.watched and self._watched_ends(row, token)

    def _watched_ends(self, row: Row, token: int) -> bool:
        if token in row.stop_ids:
            return True
        return row.matcher is not None and self._token_bytes is not None and row.matcher.push(self._token_bytes[token])

    # an iteration's tokens ------------------------------------------------------------------------
    def absorb(
        self, plan: IterationPlan, outcome: IterationOutcome, step: int, rows: Mapping[Handle, Row], now_ns: int
    ) -> tuple[TokensEmitted | None, list[Ending]]:
        """Effects of the tokens of the plan whose decode part was iteration `step`, and the jobs
        that end with them.

        Tokens of jobs that have ended are dropped.
        """
        size = len(plan.decode)
        if size == len(outcome.handles) and not outcome.failed and self._stands(plan):
            if size == 0:
                return None, []
            return self._absorb_batch(outcome, step)
        return self._absorb_mixed(plan, outcome, step, rows, now_ns)

    def _stands(self, plan: IterationPlan) -> bool:
        """Whether the plan's decode members are those of the columns, and all of them still decode."""
        return plan.decode is self._batch and self._whole

    def _absorb_batch(self, outcome: IterationOutcome, step: int) -> tuple[TokensEmitted, list[Ending]]:
        """Exactly the members of the standing batch: columns only."""
        handles, tokens = self._batch.handles, outcome.tokens
        if outcome.handles is not handles:
            assert np.array_equal(outcome.handles, handles), "tokens come in batch order"
        self._ring.write(step, self._slots, tokens)
        endings = self._endings(tokens, step)
        self._ring.flush_all(step + 1, self._rows)
        return TokensEmitted(handles, self._offsets + np.int32(step), tokens, outcome.logprobs), endings

    def _endings(self, tokens: Int32s, step: int) -> list[Ending]:
        endings: list[Ending] = []
        stopped: set[int] = set()
        numbers = tokens.tolist()
        # Most iterations end nobody: a set says so sooner than columns do.
        if self._anybody_obeys and not self._end_tokens.isdisjoint(numbers):
            for at in np.flatnonzero(self._is_end[tokens] & self._obeys).tolist():
                stopped.add(at)
                endings.append((self._rows[at], FinishReason.STOP))
        watched_ends = self._watched_ends
        for at, row in self._watched:
            if at not in stopped and watched_ends(row, numbers[at]):
                stopped.add(at)
                endings.append((row, FinishReason.STOP))
        at_limit = self._at_limit(step)
        if at_limit:
            ended, length = {row for row, _ in endings}, FinishReason.LENGTH
            endings += [(row, length) for row in at_limit if row not in ended]
        return endings

    def _at_limit(self, step: int) -> list[Row]:
        """Decode members whose output is as long as it may be with the token of iteration `step`."""
        bucket = self._limits.take(step)
        if not bucket:
            return []
        out = []
        # A member that left and came back without a step between stands in the bucket twice.
        for row in dict.fromkeys(bucket):
            kv = row.kv
            if kv.stage is DECODE and kv.generated + step + 1 - kv.since_step >= kv.max_new_tokens:
                out.append(row)
        return out

    def _absorb_mixed(
        self, plan: IterationPlan, outcome: IterationOutcome, step: int, rows: Mapping[Handle, Row], now_ns: int
    ) -> tuple[TokensEmitted | None, list[Ending]]:
        """Prompts that end in this iteration, failed jobs and late tokens: job by job where it must
        be.
        """
        failed = {handle for handle, _ in outcome.failed}
        lasts = [chunk.handle for chunk in plan.prefills if chunk.last and chunk.handle not in failed]
        members = len(outcome.handles) - len(lasts)
        positions = np.zeros(len(outcome.handles), dtype=np.int32)
        stands = np.ones(len(outcome.handles), dtype=bool)
        endings: list[Ending] = []
        if members == len(plan.decode) and not failed and self._stands(plan):
            if members:
                emitted, endings = self._absorb_batch(_head(outcome, members, self._batch), step)
                positions[:members] = emitted.positions
        else:
            endings = self._absorb_members(outcome, members, step, rows, positions, stands)
        if lasts:
            positions[members:] = self._absorb_prompts(lasts, outcome.tokens[members:].tolist(), rows, now_ns, endings)
            stands[members:] = positions[members:] >= 0
        return _emitted(outcome, positions, stands), endings

    def _absorb_prompts(
        self,
        lasts: Sequence[Handle],
        tokens: Sequence[int],
        rows: Mapping[Handle, Row],
        now_ns: int,
        endings: list[Ending],
    ) -> list[int]:
        """The tokens that these prompts end with, and who ends with them; their positions, -1 of a
        job that has ended.
        """
        positions: list[int] = []
        stop, length, end_tokens = FinishReason.STOP, FinishReason.LENGTH, self._end_tokens
        for handle, token in zip(lasts, tokens, strict=True):
            row = rows.get(handle)
            if row is None:
                positions.append(-1)
                continue
            out = row.out
            position = len(out)
            positions.append(position)
            out.append(token)
            if row.first_token_ns is None and not row.generated_before:
                row.first_token_ns = now_ns - row.start_ns
            if (token in end_tokens or row.watched) and self.ends(row, token):
                endings.append((row, stop))
            elif position + 1 >= row.kv.max_new_tokens:
                endings.append((row, length))
        return positions

    def _absorb_members(
        self,
        outcome: IterationOutcome,
        members: int,
        step: int,
        rows: Mapping[Handle, Row],
        positions: Int32s,
        stands: np.ndarray[tuple[int], np.dtype[np.bool_]],
    ) -> list[Ending]:
        """Decode members when some of the batch are missing: failed now, or ended while the plan
        was in flight.
        """
        endings: list[Ending] = []
        limited = set(self._at_limit(step))
        for at, handle in enumerate(outcome.handles[:members].tolist()):
            row = rows.get(Handle(handle))
            if row is None or row.slot < 0:
                stands[at] = False
                continue
            token = int(outcome.tokens[at])
            self._ring.write(step, np.array([row.slot]), outcome.tokens[at : at + 1])
            positions[at] = row.kv.generated_at(step + 1) - 1
            if self.ends(row, token):
                endings.append((row, FinishReason.STOP))
            elif row in limited:
                endings.append((row, FinishReason.LENGTH))
        self._ring.flush_all(step + 1, self._rows)
        return endings


def _head(outcome: IterationOutcome, members: int, batch: DecodeBatch) -> IterationOutcome:
    handles = outcome.handles[:members]
    assert np.array_equal(handles, batch.handles), "decode tokens come first, in batch order"
    return IterationOutcome(
        outcome.seq, outcome.generation, outcome.started_ns, outcome.ended_ns, batch.handles, outcome.tokens[:members]
    )


def _emitted(
    outcome: IterationOutcome, positions: Int32s, stands: np.ndarray[tuple[int], np.dtype[np.bool_]]
) -> TokensEmitted | None:
    if not len(outcome.handles) or not stands.any():
        return None
    if stands.all():
        return TokensEmitted(outcome.handles, positions, outcome.tokens, outcome.logprobs)
    logprobs = None
    if outcome.logprobs is not None:
        logprobs = tuple(item for item, keep in zip(outcome.logprobs, stands.tolist(), strict=True) if keep)
    return TokensEmitted(outcome.handles[stands], positions[stands], outcome.tokens[stands], logprobs)


def _longer(column: NDArray[_Number], more: list[int] | list[bool]) -> NDArray[_Number]:
    return np.concatenate((column, np.array(more, dtype=column.dtype)))
