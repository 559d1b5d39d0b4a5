"""The jobs that this door owns and has not seen end.

Owns `ClaimedJob` (its log in memory, what the engine has of it) and `ClaimedJobs`, by job id and by
the engine's handle. It neither stores nor schedules; journal, claims, streams and supervisor share
it on one event loop.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field

import numpy as np

from ...core.ids import Handle, JobId
from ...core.plan import Int32s
from ...core.pool import JobRecord


@dataclass(slots=True, eq=False)
class ClaimedJob:
    """A claimed job.

    `tokens` is the log as far as it is durable; `received` counts what the engine has sent, so
    `received - len(tokens)` wait for their commit. `handle` is the current engine's, None while
    there is none. `progressed`: a token was logged since this engine started.
    """

    record: JobRecord
    tokens: array[int]
    received: int
    crashes: int
    handle: Handle | None = None
    alone: bool = False
    started: bool = False
    progressed: bool = False
    parked: bool = False
    ending: bool = False
    cancel_asked: bool = False
    prompt_sent: bool = False

    @classmethod
    def of(cls, record: JobRecord) -> ClaimedJob:
        """A job as `claim` gave it."""
        tokens = array("i", record.generated.astype(np.int32).tobytes())
        return cls(record, tokens, len(tokens), record.crashes, cancel_asked=record.cancel_requested)

    @property
    def job_id(self) -> JobId:
        """Its public name."""
        return self.record.job.job_id

    @property
    def wants_logprobs(self) -> bool:
        """Whether log-probabilities are logged with its tokens; they are read from the pool, never
        held here.
        """
        return self.record.job.asked.sampling.logprobs is not None

    def generated(self) -> Int32s:
        """int32[logged]: the log's tokens, for an engine that takes the job up."""
        return np.array(self.tokens, dtype=np.int32)


@dataclass(slots=True)
class ClaimedJobs:
    """All claimed jobs. Insertion order is claim order."""

    jobs: dict[JobId, ClaimedJob] = field(default_factory=dict)
    by_handle: dict[int, ClaimedJob] = field(default_factory=dict)
    next_handle: int = 1

    def add(self, claimed: ClaimedJob) -> None:
        """A job was claimed."""
        self.jobs[claimed.job_id] = claimed

    def assign(self, claimed: ClaimedJob) -> Handle:
        """Give the job the next handle of this engine."""
        handle = Handle(self.next_handle)
        self.next_handle += 1
        claimed.handle, claimed.started, claimed.progressed, claimed.prompt_sent = handle, False, False, False
        claimed.received = len(claimed.tokens)
        self.by_handle[handle] = claimed
        return handle

    def forget_handles(self) -> None:
        """The engine is gone, and its numbers with it."""
        self.by_handle.clear()
        self.next_handle = 1
        for claimed in self.jobs.values():
            claimed.handle = None

    def remove(self, claimed: ClaimedJob) -> None:
        """The job has ended, durably."""
        self.jobs.pop(claimed.job_id, None)
        if claimed.handle is not None:
            self.by_handle.pop(claimed.handle, None)
            claimed.handle = None
