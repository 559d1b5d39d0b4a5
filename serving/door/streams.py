"""What a follower of a job sees, from any offset on.

Owns the way from the token log to `Chunk`s, and who is told of news of a job. A follower pulls: it
has no queue that could grow, and one that reads slowly gets all it missed in one chunk, from the
log. It never speaks to the engine; claimed jobs are read from the door's memory, others from the pool.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import AsyncGenerator, Iterable, Sequence
from dataclasses import dataclass

from ...core.errors import NotFound, Unavailable
from ...core.ids import JobId, TenantId
from ...core.logprobs import TokenLogprobs
from ...core.pool import JobRecord, check_offset, finish_of
from ...core.sampling import SamplingParams
from ...core.text import TextAssembler
from ...core.view import Chunk, Finish, JobEvent
from .claimed import ClaimedJobs
from .store import Store
from .text import Tokenizer
from .turns import Turns

MAX_CHUNK_TOKENS = 4096
MAX_EVENTS = 256
TOKENS_A_TURN = 256
_LOOK_AGAIN_S = 5.0


@dataclass(frozen=True, slots=True)
class _News:
    """Tokens behind an offset, and the end if there is one behind them."""

    tokens: Sequence[int]
    logprobs: tuple[TokenLogprobs, ...] | None
    finish: Finish | None


class _Watch:
    """One who waits for news of a job: a flag, and the job's last events if asked for."""

    def __init__(self, with_events: bool) -> None:
        self.news = asyncio.Event()
        self.events: deque[JobEvent] | None = deque(maxlen=MAX_EVENTS) if with_events else None

    async def wait(self, timeout_s: float) -> None:
        """Until news came since the last call, or the time has passed."""
        try:
            async with asyncio.timeout(timeout_s):
                await self.news.wait()
        except TimeoutError:
            pass
        self.news.clear()


class Streams:
    """Followers of jobs."""

    def __init__(self, store: Store, table: ClaimedJobs, tokenizer: Tokenizer, turns: Turns | None = None) -> None:
        self._store = store
        self._table = table
        self._tokenizer = tokenizer
        self._turns = Turns() if turns is None else turns
        self._watches: dict[JobId, set[_Watch]] = {}
        self.open = 0
        self.closed = False

    async def follow(
        self, job_id: JobId, tenant: TenantId | None, offset: int, *, with_events: bool = False
    ) -> AsyncGenerator[Chunk | JobEvent]:
        """Chunks from `offset` on until the job is final; the last one carries the finish.

        `tenant` None is the operator. Raises NotFound, OffsetOutOfRange, and Unavailable when the
        server goes: come back with the offset reached.
        """
        watch = _Watch(with_events)
        self._watches.setdefault(job_id, set()).add(watch)
        self.open += 1
        try:
            record = await self.record(job_id, tenant)
            check_offset(offset, record.output_tokens)
            text = await self._text_until(record, offset)
            while True:
                for event in _taken(watch):
                    yield event
                news = await self._news(job_id, offset, record)
                if news.tokens or news.finish is not None:
                    added = await self._push(job_id, text, news.tokens)
                    if news.finish is not None:
                        added += text.finish()
                    yield Chunk(offset, tuple(news.tokens), added, news.logprobs, news.finish)
                    offset += len(news.tokens)
                if news.finish is not None:
                    return
                if len(news.tokens) == MAX_CHUNK_TOKENS:
                    continue
                if self.closed:
                    raise Unavailable(
                        "The server is going down; the job is kept. Stream again from the offset reached."
                    )
                await watch.wait(_LOOK_AGAIN_S)
        finally:
            self.open -= 1
            self._forget(job_id, watch)

    async def record(self, job_id: JobId, tenant: TenantId | None) -> JobRecord:
        """The stored job, if it is this tenant's. Raises NotFound."""
        record = await self._store.read(lambda reader: reader.get(job_id))
        if tenant is not None and record.job.tenant != tenant:
            raise NotFound("There is no such job.", field="job_id")
        return record

    async def _news(self, job_id: JobId, offset: int, record: JobRecord) -> _News:
        claimed = self._table.jobs.get(job_id)
        if claimed is not None and record.job.asked.sampling.logprobs is None:
            return _News(claimed.tokens[offset : offset + MAX_CHUNK_TOKENS].tolist(), None, None)
        piece = await self._store.read(lambda reader: reader.tokens(job_id, offset))
        tokens = piece.tokens[:MAX_CHUNK_TOKENS].tolist()
        whole = len(tokens) == len(piece.tokens)
        logprobs = None
        if piece.logprobs is not None and record.job.asked.sampling.logprobs is not None:
            logprobs = tuple(entry or TokenLogprobs(math.nan) for entry in piece.logprobs[:MAX_CHUNK_TOKENS])
        return _News(tokens, logprobs, finish_of(piece.record) if whole and piece.record.state.final else None)

    async def _text_until(self, record: JobRecord, offset: int) -> TextAssembler:
        """The text's state after `offset` tokens: what was held back then comes with the next ones."""
        text = assembler(self._tokenizer, record.job.asked.sampling)
        if offset:
            piece = await self._store.read(lambda reader: reader.tokens(record.job.job_id, 0))
            await self._push(record.job.job_id, text, piece.tokens[:offset].tolist())
        return text

    async def _push(self, job_id: JobId, text: TextAssembler, tokens: Sequence[int]) -> str:
        """What the tokens add to the text. A long log is gone through in several turns."""
        added = []
        for at in range(0, len(tokens), TOKENS_A_TURN):
            await self._turns.take(job_id)
            added.append(text.push(tokens[at : at + TOKENS_A_TURN]))
        return "".join(added)

    def _forget(self, job_id: JobId, watch: _Watch) -> None:
        watching = self._watches[job_id]
        watching.discard(watch)
        if not watching:
            del self._watches[job_id]

    def tell(self, job_id: JobId, events: Iterable[JobEvent] = ()) -> None:
        """There is news of the job: tokens in its log, its end, or events that are not kept."""
        for watch in self._watches.get(job_id, ()):
            if watch.events is not None:
                watch.events.extend(events)
            watch.news.set()

    def close(self) -> None:
        """End every stream with Unavailable after what is there."""
        self.closed = True
        for job_id in self._watches:
            self.tell(job_id)


def assembler(tokenizer: Tokenizer, sampling: SamplingParams) -> TextAssembler:
    """What makes a job's text from its tokens."""
    hidden = frozenset(sampling.stop_token_ids)
    if not sampling.ignore_eos:
        hidden |= tokenizer.end_tokens
    return TextAssembler(tokenizer.token_bytes, stops=sampling.stop, hidden=hidden)


def _taken(watch: _Watch) -> list[JobEvent]:
    if not watch.events:
        return []
    events = list(watch.events)
    watch.events.clear()
    return events
