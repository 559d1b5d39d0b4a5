"""What the planner keeps from plan to plan: the open jobs, where their KV is, and who is in the
batch.

Owns these books and what each event does to them. It does not know ranks, budgets or plans; the
planner tells it what happens, and everything that makes a plan reads it through the turn's context.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ...core.ids import Handle, MoveId
from ..job_kv import DECODE, OUT, JobKv
from ..ledger import Ledger, Ticket
from .running import RunningBatch


class Books:
    """The books of one executor. Written between plans by the events, and while a plan is made by
    the walk, the evictions and the batch.
    """

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.jobs: dict[Handle, JobKv] = {}
        self.residents: dict[Handle, JobKv] = {}
        """Jobs whose KV is on the device, or on its way there."""
        self.running = RunningBatch(ledger.page_tokens)
        self.prefilling: list[JobKv] = []
        """Who had a chunk in the last plan."""
        self.suspects: dict[Handle, JobKv] = {}
        """Jobs that must run alone."""
        self.dropped: list[Handle] = []
        """Handles that the executor is to forget with the next plan."""
        self.ready_jobs = 0
        """Open jobs whose prompt has arrived."""

    def add(self, job: JobKv) -> None:
        """A job arrives."""
        self.jobs[job.handle] = job
        self.ready_jobs += job.ready
        if job.alone:
            self.suspects[job.handle] = job

    def prompt_arrived(self, handle: Handle) -> None:
        """The job can be admitted."""
        job = self.jobs[handle]
        self.ready_jobs += not job.ready
        job.ready = True

    def remove(self, ended: Sequence[JobKv], steps: int) -> None:
        """These jobs ended, in whatever way: their counts are settled, their slots are free, or
        orphans while a move holds them.
        """
        jobs, residents, dropped = self.jobs, self.residents, self.dropped
        for job in ended:
            handle = job.handle
            del jobs[handle]
            self.ready_jobs -= job.ready
            if job.stage is DECODE:
                self.running.take_out(job, steps)
            job.stage = OUT
            residents.pop(handle, None)
            if job.alone:
                del self.suspects[handle]
            if job.admitted:
                dropped.append(handle)
        self.ledger.release_all([job.table for job in ended])

    def evict(self, job: JobKv, steps: int) -> None:
        """The resident leaves the device: it is out of the batch, and its pages are about to go."""
        if job.stage is DECODE:
            self.running.take_out(job, steps)
        del self.residents[job.handle]

    def landed(self, moves: Iterable[MoveId], generation: int) -> list[Ticket]:
        """Moves are done."""
        tickets = [self.ledger.land(move_id, generation) for move_id in moves]
        return [ticket for ticket in tickets if ticket is not None]
