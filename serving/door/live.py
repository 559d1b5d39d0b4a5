"""The jobs that this door owns and has not seen end.

Owns `LiveJob` (its log in memory, its standing with the engine) and `LiveTable`, by job id and by
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
class LiveJob:
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
    def of(cls, record: JobRecord) -> LiveJob:
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
class LiveTable:
    """All live jobs. Insertion order is claim order."""

    jobs: dict[JobId, LiveJob] = field(default_factory=dict)
    by_handle: dict[int, LiveJob] = field(default_factory=dict)
    next_handle: int = 1

    def add(self, live: LiveJob) -> None:
        """A job was claimed."""
        self.jobs[live.job_id] = live

    def assign(self, live: LiveJob) -> Handle:
        """Give the job the next handle of this engine."""
        handle = Handle(self.next_handle)
        self.next_handle += 1
        live.handle, live.started, live.progressed, live.prompt_sent = handle, False, False, False
        live.received = len(live.tokens)
        self.by_handle[handle] = live
        return handle

    def forget_handles(self) -> None:
        """The engine is gone, and its numbers with it."""
        self.by_handle.clear()
        self.next_handle = 1
        for live in self.jobs.values():
            live.handle = None

    def remove(self, live: LiveJob) -> None:
        """The job has ended, durably."""
        self.jobs.pop(live.job_id, None)
        if live.handle is not None:
            self.by_handle.pop(live.handle, None)
            live.handle = None
