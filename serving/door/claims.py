"""From the pool to the engine: which stored jobs the engine is told of, and with what.

Owns the bounds on claimed jobs and their prompts, the resubmission to a restarted engine, and the
crash marks (docs/operations.md). It does not rank: it claims oldest first, and the engine decides.
Supervisor and door call it on the event loop.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence

from ...core.clock import Clock, unix_ns
from ...core.errors import StoreUnavailable
from ...core.events import CancelRequested, Event, PromptArrived, Submitted
from ...core.ids import Handle
from ...core.job import FinishReason
from ..facts import EngineFacts
from .claimed import ClaimedJob, ClaimedJobs
from .journal import Journal
from .store import Store

log = logging.getLogger("skipjoin.door")

CLAIM_GROUP = 256
CRASHES_UNTIL_ALONE = 2

Send = Callable[[Sequence[Event]], Awaitable[None]]


class Claims:
    """Claims jobs while there is room and keeps the engine told."""

    def __init__(
        self,
        store: Store,
        table: ClaimedJobs,
        journal: Journal,
        clock: Clock,
        epoch: int,
        *,
        max_jobs: int,
        held_prompt_bytes: int,
        prompts_ahead_bytes: int,
    ) -> None:
        self._store = store
        self._table = table
        self._journal = journal
        self._clock = clock
        self._epoch = epoch
        self._max_jobs = max_jobs
        self._held_limit = held_prompt_bytes
        self._ahead_limit = prompts_ahead_bytes
        self._held_bytes = 0
        self._ahead_bytes = 0
        self._kick = asyncio.Event()
        self._send: Send | None = None
        self._facts: EngineFacts | None = None
        self.closed = False
        journal.end_observers.append(lambda claimed, _: self._released(claimed))
        store.on_change.append(self._store_changed)

    # the pool
    # ---------------------------------------------------------------------------------------------------
    def kick(self) -> None:
        """There may be something to claim, or room for it."""
        self._kick.set()

    def _store_changed(self, well: bool) -> None:
        """A job may be stored whose submit was refused, for the store failed behind its commit."""
        if well:
            self.kick()

    async def run(self) -> None:
        """Claim for ever, from the start on: what another server left is known before an engine is
        ready.
        """
        self.kick()
        while True:
            await self._kick.wait()
            self._kick.clear()
            while not self.closed and self._room():
                limit = min(CLAIM_GROUP, self._max_jobs - len(self._table.jobs))
                try:
                    records = await self._store.call(lambda pool, limit: pool.claim(self._epoch, limit), limit)
                except StoreUnavailable:
                    await self._store.well()
                    continue
                fresh = [ClaimedJob.of(record) for record in records if record.job.job_id not in self._table.jobs]
                for claimed in fresh:
                    claimed.parked = self.closed  # a drain began meanwhile: it stays in the pool for the next server
                    self._table.add(claimed)
                    self._held_bytes += claimed.record.job.prompt.nbytes
                await self._tell(fresh)
                if not records:  # fewer than asked for may be a page of long prompts, with more behind it
                    break

    def _room(self) -> bool:
        return len(self._table.jobs) < self._max_jobs and self._held_bytes < self._held_limit

    def _released(self, claimed: ClaimedJob) -> None:
        self._held_bytes -= claimed.record.job.prompt.nbytes
        self._prompt_used(claimed)
        self.kick()

    # the engine
    # -------------------------------------------------------------------------------------------------
    async def engine_started(self, facts: EngineFacts, send: Send) -> None:
        """A new engine knows nothing: tell it of every claimed job, then claim on."""
        self._facts, self._send = facts, send
        self._ahead_bytes = 0
        await self._tell(list(self._table.jobs.values()))
        self.kick()

    def engine_ended(self) -> None:
        """The engine's numbers mean nothing any more."""
        self._send = None
        self._table.forget_handles()

    async def _tell(self, jobs: Iterable[ClaimedJob]) -> None:
        events = [
            event for claimed in jobs if not self._over(claimed) and (event := self._submitted(claimed)) is not None
        ]
        if events and self._send is not None:
            await self._send(events)

    def _over(self, claimed: ClaimedJob) -> bool:
        """Whether the job needs no engine any more. It is ended here, engine or not."""
        deadline = claimed.record.job.deadline_unix_ns
        if claimed.cancel_asked:
            self._journal.end(claimed, FinishReason.CANCELLED)
        elif deadline is not None and deadline <= unix_ns():
            self._journal.end(claimed, FinishReason.EXPIRED)
        return claimed.ending

    def _submitted(self, claimed: ClaimedJob) -> Submitted | None:
        """The event for a job that may run; one that this engine has no room for is ended here."""
        if claimed.parked or self._facts is None or self._send is None:
            return None
        job = claimed.record.job
        now_unix = unix_ns()
        wanted = len(job.prompt) + (job.asked.sampling.max_new_tokens or 0)
        if wanted > self._facts.job_tokens:
            said = f"The job needs {wanted} tokens of KV and this server now has room for {self._facts.job_tokens}."
            self._journal.end(claimed, FinishReason.FAILED, ("NEVER_FITS", said))
            return None
        now_ns = self._clock.now_ns()
        handle = self._table.assign(claimed)
        claimed.alone = claimed.crashes >= CRASHES_UNTIL_ALONE
        claimed.prompt_sent = self._ahead_bytes + job.prompt.nbytes <= self._ahead_limit
        if claimed.prompt_sent:
            self._ahead_bytes += job.prompt.nbytes
        return Submitted(
            handle=handle,
            prompt_tokens=len(job.prompt),
            asked=job.asked,
            arrival_ns=max(0, now_ns - (now_unix - job.submitted_unix_ns)),
            tenant=job.tenant,
            earlier_output_tokens=job.earlier_output_tokens,
            prompt=job.prompt if claimed.prompt_sent else None,
            has_prompt=claimed.prompt_sent,
            generated=claimed.generated() if claimed.tokens else None,
            deadline_ns=None if job.deadline_unix_ns is None else now_ns + (job.deadline_unix_ns - now_unix),
            alone=claimed.alone,
        )

    async def prompts_needed(self, handles: Sequence[Handle]) -> None:
        """Send the prompts that the engine asks for."""
        events: list[Event] = []
        for handle in handles:
            claimed = self._table.by_handle.get(handle)
            if claimed is not None and not claimed.prompt_sent:
                claimed.prompt_sent = True
                self._ahead_bytes += claimed.record.job.prompt.nbytes
                events.append(PromptArrived(handle, claimed.record.job.prompt))
        if events and self._send is not None:
            await self._send(events)

    def _prompt_used(self, claimed: ClaimedJob) -> None:
        if claimed.prompt_sent:
            claimed.prompt_sent = False
            self._ahead_bytes = max(0, self._ahead_bytes - claimed.record.job.prompt.nbytes)

    async def cancel(self, claimed: ClaimedJob) -> None:
        """A claimed job shall end, whether or not there is an engine to tell."""
        claimed.cancel_asked = True
        if claimed.handle is None or claimed.parked:  # no engine has it, or the one that had it was told to drop it
            self._journal.end(claimed, FinishReason.CANCELLED)
        elif self._send is not None:
            await self._send([CancelRequested(claimed.handle)])

    async def park_unstarted(self) -> None:
        """Take back from the engine what has not started: it stays in the pool for the next server."""
        self.closed = True
        events: list[Event] = []
        for claimed in self._table.jobs.values():
            if not claimed.started and not claimed.ending and not claimed.parked:
                claimed.parked = True
                if claimed.handle is not None:
                    events.append(CancelRequested(claimed.handle))
        if events and self._send is not None:
            await self._send(events)

    def park_all(self) -> None:
        """Whatever has not ended stays in the pool."""
        self.closed = True
        for claimed in self._table.jobs.values():
            claimed.parked = claimed.parked or not claimed.ending

    # crashes
    # ----------------------------------------------------------------------------------------------------
    async def count_crash(self, in_flight: frozenset[int]) -> None:
        """Mark jobs of the plan in flight that logged no token since the engine started; fail one
        that was alone. Call before engine_ended.
        """
        suspects = [
            claimed
            for handle in sorted(in_flight)
            if (claimed := self._table.by_handle.get(handle)) is not None
            and not claimed.progressed
            and not claimed.ending
        ]
        for claimed in suspects:
            if claimed.alone and len(in_flight) == 1:
                said = "The job crashed the engine three times, the last time while it ran alone."
                self._journal.end(claimed, FinishReason.FAILED, ("POISON_JOB", said))
            claimed.crashes += 1
        if suspects:
            names = [claimed.job_id for claimed in suspects]
            try:
                await self._store.call(lambda pool, names: pool.mark_crash(self._epoch, names), names)
            except StoreUnavailable as error:
                # Counted above for this server's life; only a door that dies too would forget it.
                log.warning("a crash of %d jobs could not be noted: %s", len(names), error)
