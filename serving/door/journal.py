"""The token log before anyone sees a token.

Owns the way of effects: checked against the claimed jobs, grouped, committed to the pool in one
write, and only then published. It does not know who reads; streams watch the table, metrics and
records are observers. The supervisor feeds it and waits for room, which is how the engine pauses.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from ...core.clock import Clock, MonotonicClock, unix_ns
from ...core.effects import (
    Finished,
    LevelChanged,
    Preempted,
    Recomputed,
    Resumed,
    Started,
    TokensEmitted,
    TurnEffects,
)
from ...core.errors import InvariantViolation, StoreUnavailable, Unavailable
from ...core.ids import JobId
from ...core.job import FinishReason
from ...core.outcome import TokenLogprobs
from ...core.pool import LogBatch, LogEnd, LogEntry
from ...core.view import JobEvent, JobEventKind
from .claimed import ClaimedJob, ClaimedJobs
from .store import Store

_JOB_BYTES = 64

Observer = Callable[[TurnEffects], None]
EndObserver = Callable[[ClaimedJob, LogEnd], None]
NewsObserver = Callable[[JobId, Sequence[JobEvent]], None]
CommitObserver = Callable[[int], None]
"""Hears how many nanoseconds a commit took."""


@dataclass(slots=True, eq=False)
class _Tail:
    """One job's share of a pending turn."""

    claimed: ClaimedJob
    tokens: list[int] = field(default_factory=list)
    logprobs: list[TokenLogprobs | None] | None = None
    end: LogEnd | None = None
    events: list[JobEvent] = field(default_factory=list)

    @classmethod
    def of(cls, claimed: ClaimedJob) -> _Tail:
        """Nothing yet."""
        return cls(claimed, logprobs=[] if claimed.wants_logprobs else None)

    def add(self, other: _Tail) -> None:
        """A later turn of the same job goes behind this one."""
        self.tokens += other.tokens
        if self.logprobs is not None and other.logprobs is not None:
            self.logprobs += other.logprobs
        self.end = self.end or other.end
        self.events += other.events


class Journal:
    """Commits turn by turn, or several turns at once when the disk is slower than the engine."""

    def __init__(
        self, store: Store, table: ClaimedJobs, epoch: int, limit_bytes: int, clock: Clock | None = None
    ) -> None:
        self._clock = clock or MonotonicClock()
        self._store = store
        self._table = table
        self._epoch = epoch
        self._limit_bytes = limit_bytes
        self._pending: list[tuple[dict[ClaimedJob, _Tail], TurnEffects | None]] = []
        self._pending_bytes = 0
        self._work = asyncio.Event()
        self._settled = asyncio.Event()
        self._settled.set()
        self.observers: list[Observer] = []
        self.end_observers: list[EndObserver] = []
        self.news_observers: list[NewsObserver] = []
        self.commit_observers: list[CommitObserver] = []
        self.lost: Exception | None = None

    # in
    # ---------------------------------------------------------------------------------------------------------
    def feed(self, turn: TurnEffects) -> None:
        """Queue one turn of the engine. Raises InvariantViolation when a token does not go behind
        the log.
        """
        tails: dict[ClaimedJob, _Tail] = {}
        size = _JOB_BYTES
        if turn.tokens is not None:
            size += self._take_tokens(turn.tokens, tails)
        for effect in turn.effects:
            if isinstance(effect, (Started, Preempted, Resumed, LevelChanged, Recomputed, Finished)):
                claimed = self._table.by_handle.get(effect.handle)
                if claimed is None or claimed.ending:
                    continue
                tail = tails.get(claimed) or tails.setdefault(claimed, _Tail.of(claimed))
                if isinstance(effect, Finished):
                    self._take_end(effect, claimed, tail)
                else:
                    claimed.started = claimed.started or isinstance(effect, Started)
                    tail.events.append(_event(effect))
        self._queue(tails, turn, size + _JOB_BYTES * len(tails))

    def _take_tokens(self, columns: TokensEmitted, tails: dict[ClaimedJob, _Tail]) -> int:
        logprobs = columns.logprobs
        rows = zip(columns.handles.tolist(), columns.positions.tolist(), columns.tokens.tolist(), strict=True)
        for row, (handle, position, token) in enumerate(rows):
            claimed = self._table.by_handle.get(handle)
            if claimed is None or claimed.ending:
                continue
            if position != claimed.received:
                raise InvariantViolation(f"The engine sent token {position} of a job whose log has {claimed.received}.")
            claimed.received += 1
            tail = tails.get(claimed) or tails.setdefault(claimed, _Tail.of(claimed))
            tail.tokens.append(token)
            if tail.logprobs is not None:
                tail.logprobs.append(logprobs[row] if logprobs is not None else None)
        return 4 * len(columns.tokens)

    def _take_end(self, effect: Finished, claimed: ClaimedJob, tail: _Tail) -> None:
        if claimed.parked and effect.reason is FinishReason.CANCELLED:
            return  # The door took it back from the engine; it stays in the pool.
        account = effect.account.to_json()
        claimed.ending = True
        tail.end = LogEnd(claimed.job_id, effect.reason, unix_ns(), effect.failure, account)

    def end(self, claimed: ClaimedJob, reason: FinishReason, failure: tuple[str, str] | None = None) -> None:
        """Queue the end of a job that the door itself decides."""
        if claimed.ending:
            return
        claimed.ending = True
        tail = _Tail.of(claimed)
        tail.end = LogEnd(claimed.job_id, reason, unix_ns(), failure)
        self._queue({claimed: tail}, None, _JOB_BYTES)

    def _queue(self, tails: dict[ClaimedJob, _Tail], turn: TurnEffects | None, size: int) -> None:
        self._pending.append((tails, turn))
        self._pending_bytes += size
        self._settled.clear()
        self._work.set()

    # back-pressure
    # ----------------------------------------------------------------------------------------------
    @property
    def full(self) -> bool:
        """Whether more bytes wait for the disk than the bound allows."""
        return self._pending_bytes >= self._limit_bytes

    def check_writable(self) -> None:
        """Raise Unavailable while the log cannot be written or is behind: nothing new is accepted
        then.
        """
        if self.lost is not None:
            raise Unavailable("This server has lost its job pool to another one.")
        if self._store.failing is not None:
            raise StoreUnavailable(self._store.failing.message)
        if self.full:
            raise Unavailable("The token log is behind; try again in a second.")

    async def room(self) -> None:
        """Wait until the pending bytes are below the bound."""
        if self.full:
            await self._settled.wait()

    async def flush(self) -> None:
        """Wait until everything fed so far is durable and published."""
        await self._settled.wait()

    # out
    # --------------------------------------------------------------------------------------------------------
    async def run(self) -> None:
        """Commit and publish for ever. Ends only by WrongState or InvariantViolation of the pool:
        another owner, or a broken log.
        """
        while True:
            await self._work.wait()
            self._work.clear()
            group, size = self._pending, self._pending_bytes
            self._pending = []
            merged: dict[ClaimedJob, _Tail] = {}
            for tails, _ in group:
                for claimed, tail in tails.items():
                    if claimed in merged:
                        merged[claimed].add(tail)
                    else:
                        merged[claimed] = tail
            await self._commit(merged)
            self._publish(merged)
            for _, turn in group:
                if turn is not None:
                    for observer in self.observers:
                        observer(turn)
            self._pending_bytes -= size
            if not self._pending:
                self._settled.set()

    async def _commit(self, tails: dict[ClaimedJob, _Tail]) -> None:
        batch = LogBatch(
            tuple(
                LogEntry(
                    claimed.job_id,
                    len(claimed.tokens),
                    np.array(tail.tokens, dtype=np.int32),
                    tuple(tail.logprobs) if tail.logprobs is not None else None,
                )
                for claimed, tail in tails.items()
                if tail.tokens
            ),
            tuple(tail.end for tail in tails.values() if tail.end is not None),
        )
        while batch.entries or batch.ends:
            began_ns = self._clock.now_ns()
            try:
                await self._store.call(lambda pool: pool.commit(self._epoch, batch))
            except StoreUnavailable:
                await self._store.well()
            else:
                for observer in self.commit_observers:
                    observer(self._clock.now_ns() - began_ns)
                return

    def _publish(self, tails: dict[ClaimedJob, _Tail]) -> None:
        for claimed, tail in tails.items():
            claimed.tokens.extend(tail.tokens)
            claimed.progressed = claimed.progressed or bool(tail.tokens)
            if tail.end is not None:
                self._table.remove(claimed)
                for observer in self.end_observers:
                    observer(claimed, tail.end)
            for tell in self.news_observers:
                tell(claimed.job_id, tail.events)


def _event(effect: Started | Preempted | Resumed | LevelChanged | Recomputed) -> JobEvent:
    """As a stream shows it."""
    now = unix_ns()
    match effect:
        case Started(level=level):
            return JobEvent(JobEventKind.STARTED, now, level)
        case Preempted(level=level):
            return JobEvent(JobEventKind.PREEMPTED, now, level)
        case Resumed(level=level):
            return JobEvent(JobEventKind.RESUMED, now, level)
        case LevelChanged(old=old, new=new, cause=cause):
            return JobEvent(JobEventKind.LEVEL_CHANGED, now, new, old, cause)
        case Recomputed(tokens=tokens):
            return JobEvent(JobEventKind.RECOMPUTED, now, tokens=tokens)
