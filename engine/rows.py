"""The engine's row of one job: what was asked, what was emitted, and where its time went.

Owns prompt, what was asked, output tokens and the running account of an open job. It does not know
pages or ranks; engine/state keeps one row per open job beside the planner's `JobKv`.
"""

from __future__ import annotations

from array import array
from enum import IntEnum

import numpy as np

from ..core.events import Submitted
from ..core.ids import Handle
from ..core.job import JobAccount
from ..core.plan import NO_INT32, Admit, Int32s
from ..core.stops import StopMatcher
from ..kvstore.job_kv import JobKv


class Phase(IntEnum):
    """What a job's time is booked on now; in the order of the account's parts."""

    QUEUED = 0
    PREFILL = 1
    DECODE = 2
    PREEMPTED = 3
    MOVING = 4


class Row:
    """One open job. `kv` is shared with the planner. `out` holds the emitted tokens but those still
    in the recent ring.
    """

    __slots__ = (
        "_parts",
        "deadline_ns",
        "demotions",
        "first_token_ns",
        "generated_before",
        "handle",
        "kv",
        "matcher",
        "obeys_end",
        "out",
        "phase",
        "preemptions",
        "promotions",
        "prompt",
        "recomputed_tokens",
        "ring_from",
        "since_ns",
        "slot",
        "start_ns",
        "started",
        "stop_ids",
        "submitted",
        "watched",
    )

    def __init__(self, submitted: Submitted, kv: JobKv, now_ns: int) -> None:
        self.submitted = submitted
        self.handle: Handle = submitted.handle
        self.kv = kv
        self.prompt: Int32s | None = submitted.prompt
        self.out = array("i")
        if submitted.generated is not None:
            self.out.frombytes(np.ascontiguousarray(submitted.generated, dtype=np.int32).tobytes())
        self.generated_before = len(self.out)
        self.deadline_ns = submitted.deadline_ns
        sampling = submitted.asked.sampling
        self.obeys_end = not sampling.ignore_eos
        self.stop_ids = frozenset(sampling.stop_token_ids)
        self.matcher = StopMatcher(sampling.stop) if sampling.stop else None
        self.watched = bool(self.stop_ids) or self.matcher is not None
        """Whether its tokens have to be looked at one by one."""
        # A job cannot have waited for less than nothing, whatever clock stamped its arrival.
        self.start_ns = self.since_ns = min(submitted.arrival_ns, now_ns)
        # A job with tokens ran in an engine that is gone: all its time so far counts as waiting to
        # come back, its first token is history.
        self.phase = Phase.PREEMPTED if self.generated_before else Phase.QUEUED
        self._parts = [0, 0, 0, 0, 0]
        self.started = False
        self.first_token_ns: int | None = None
        self.preemptions = self.promotions = self.demotions = self.recomputed_tokens = 0
        self.slot = -1
        self.ring_from = 0

    def enter(self, phase: Phase, now_ns: int) -> None:
        """From `now_ns` on time is booked on `phase`."""
        self._parts[self.phase] += now_ns - self.since_ns
        self.since_ns = now_ns
        self.phase = phase

    def account(self, now_ns: int) -> JobAccount:
        """Where the time went up to `now_ns`; the five parts sum to `now_ns` - arrival."""
        parts = self._parts.copy()
        parts[self.phase] += now_ns - self.since_ns
        # By position: a quarter of a batch may end at once, and names would double what an account
        # costs.
        counters = (self.preemptions, self.promotions, self.demotions, self.recomputed_tokens, self.first_token_ns)
        return JobAccount._make((*parts, *counters))

    def admit(self) -> Admit:
        """All known tokens and what was asked, for the executor."""
        submitted, asked = self.submitted, self.submitted.asked
        known = submitted.prompt_tokens + len(self.out)
        tokens = NO_INT32
        if self.prompt is not None:
            tokens = np.concatenate((self.prompt, np.array(self.out, dtype=np.int32)), dtype=np.int32)
        return Admit(self.handle, tokens, known, submitted.prompt_tokens, asked, asked.sampling.seed or 0)
