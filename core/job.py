"""A job: what was asked, which durable state it is in, and why it ended.

Owns `JobState` with the table of its legal moves, `FinishReason` and `JobAccount` (where a job's
time went). It does not know how a job is stored or scheduled: running and preempted pass by
of the engine and never durable states. Job pool, door and engine use it.
"""

from __future__ import annotations

import json
from enum import Enum
from typing import NamedTuple

from .errors import InvariantViolation


class JobState(Enum):
    """Durable state of a job in the pool (AIP-216)."""

    ACCEPTED = "accepted"
    CLAIMED = "claimed"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"

    @property
    def final(self) -> bool:
        """Whether no further move is legal."""
        return not LEGAL_MOVES[self]


_FINAL = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED, JobState.EXPIRED})

LEGAL_MOVES: dict[JobState, frozenset[JobState]] = {
    JobState.ACCEPTED: _FINAL - {JobState.SUCCEEDED} | {JobState.CLAIMED},
    # CLAIMED -> CLAIMED is a takeover under a later epoch.
    JobState.CLAIMED: _FINAL | {JobState.CLAIMED},
    JobState.SUCCEEDED: frozenset(),
    JobState.FAILED: frozenset(),
    JobState.CANCELLED: frozenset(),
    JobState.EXPIRED: frozenset(),
}


def check_move(old: JobState, new: JobState) -> None:
    """Raise InvariantViolation unless `old` -> `new` is in the table."""
    if new not in LEGAL_MOVES[old]:
        raise InvariantViolation(f"A job cannot go from {old.value} to {new.value}.")


class FinishReason(Enum):
    """Why a job emits no further token."""

    STOP = "stop"  # end token, stop id or stop string
    LENGTH = "length"  # max_new_tokens reached
    CANCELLED = "cancelled"
    EXPIRED = "expired"  # deadline
    FAILED = "failed"

    @property
    def state(self) -> JobState:
        """The durable state that this reason leads to."""
        return _STATE_OF[self]


_STATE_OF = {
    FinishReason.STOP: JobState.SUCCEEDED,
    FinishReason.LENGTH: JobState.SUCCEEDED,
    FinishReason.CANCELLED: JobState.CANCELLED,
    FinishReason.EXPIRED: JobState.EXPIRED,
    FinishReason.FAILED: JobState.FAILED,
}


class LevelCause(Enum):
    """Why a job changed its level."""

    QUANTUM = "quantum"  # demotion: charged its quantum
    STARVATION = "starvation"  # promotion: waited too long
    POLICY = "policy"  # another policy was chosen, which has the job on another level


class JobAccount(NamedTuple):
    """Where the job's time in the engine went, in nanoseconds; the five parts sum exactly to
    `jct_ns`.

    `queued_ns`: from arrival to the first iteration that holds the job. `prefill_ns`, `decode_ns`:
    in a batch. `moving_ns`: out of the batch while its own KV is on the way in. `preempted_ns`: out
    of the batch otherwise. Counters: `preemptions` (left the batch while unfinished), `promotions`,
    `demotions`, `recomputed_tokens`. `first_token_ns` counts from arrival, None before it.
    """

    queued_ns: int
    prefill_ns: int
    decode_ns: int
    preempted_ns: int
    moving_ns: int
    preemptions: int = 0
    promotions: int = 0
    demotions: int = 0
    recomputed_tokens: int = 0
    first_token_ns: int | None = None

    @property
    def jct_ns(self) -> int:
        """Job completion time: arrival to the end (or to now, for an open job)."""
        return self.queued_ns + self.prefill_ns + self.decode_ns + self.preempted_ns + self.moving_ns

    def to_json(self) -> str:
        """One line of JSON with every field, as the job pool stores it."""
        return json.dumps(self._asdict(), separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> JobAccount:
        """The account that `to_json` wrote; raises InvariantViolation when the text is something
        else.
        """
        try:
            return cls(**json.loads(text))
        except (TypeError, ValueError) as error:
            raise InvariantViolation("A stored job account cannot be read.") from error
