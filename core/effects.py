"""Everything that the engine tells the world.

Owns the effect values; one `TurnEffects` batch leaves per turn. They do not know who reads:
journal, streams, metrics and records are readers of this one stream. engine/state makes them,
proto/convert carries them to the door. Those of which a turn may have as many as its batch has
members are named tuples, made in less than half the time of a frozen dataclass; no two of these
kinds have the same fields, or they could be equal.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from .ids import Handle, Level
from .job import FinishReason, JobAccount
from .job import LevelCause as LevelCause  # re-exported: a level change holds one
from .outcome import TokenLogprobs
from .plan import Int32s, Int64s


@dataclass(frozen=True, slots=True, eq=False)
class TokensEmitted:
    """New tokens in columns: int64[n] handles, int32[n] positions (0 = first output token),
    int32[n] tokens.
    """

    handles: Int64s
    positions: Int32s
    tokens: Int32s
    logprobs: tuple[TokenLogprobs | None, ...] | None = None


class Started(NamedTuple):
    """First time in a batch."""

    handle: Handle
    level: Level


@dataclass(frozen=True, slots=True)
class Preempted:
    """Left the batch unfinished."""

    handle: Handle
    level: Level


@dataclass(frozen=True, slots=True)
class Resumed:
    """Back in a batch."""

    handle: Handle
    level: Level


class LevelChanged(NamedTuple):
    """A demotion (new > old) or a promotion."""

    handle: Handle
    old: Level
    new: Level
    cause: LevelCause


@dataclass(frozen=True, slots=True)
class Recomputed:
    """The job's KV was dropped; `tokens` must be computed again."""

    handle: Handle
    tokens: int


class Finished(NamedTuple):
    """The last word about a job, after its tokens. `failure` is (code, message) when the reason is
    FAILED.
    """

    handle: Handle
    reason: FinishReason
    output_tokens: int
    account: JobAccount
    failure: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class PromptsNeeded:
    """The engine wants these prompts' tokens, best ranked first."""

    handles: tuple[Handle, ...]


@dataclass(frozen=True, slots=True)
class AccountGiven:
    """Answer to `AccountAsked`; `account` is None for a handle of no open job."""

    question: int
    handle: Handle
    account: JobAccount | None
    level: Level | None = None
    phase: str | None = None


@dataclass(frozen=True, slots=True)
class LevelDepth:
    """Jobs of one level: in all, and of them in the batch; the longest current wait in ns."""

    level: Level
    jobs: int
    running: int
    oldest_wait_ns: int


@dataclass(frozen=True, slots=True)
class KvDepth:
    """Slots of both pools in pages; free + owned + in_flight = total for each."""

    device_total: int
    device_free: int
    device_owned: int
    device_in_flight: int
    host_total: int
    host_free: int
    host_owned: int
    host_in_flight: int
    clean_pages: int  # device pages whose block has a valid host copy


@dataclass(frozen=True, slots=True)
class SnapshotGiven:
    """Answer to `SnapshotAsked`. `tail` is the dial in use, None for a policy that has none."""

    question: int
    policy: str
    levels: tuple[LevelDepth, ...]
    kv: KvDepth
    live_jobs: int
    running_jobs: int
    # Not in the text that a record's fingerprint is made of: records from before the dial was told
    # replay as they did.
    tail: float | None = field(default=None, repr=False)


Effect = (
    Started | Preempted | Resumed | LevelChanged | Recomputed | Finished | PromptsNeeded | AccountGiven | SnapshotGiven
)


class TurnStats(NamedTuple):
    """Numbers of one turn. Page counts of moves are those started in this turn; times in ns;
    `measured_ns` None without a batch.
    """

    seq: int
    now_ns: int
    decode_jobs: int
    prefill_tokens: int
    live_jobs: int
    free_pages: int
    pages_out: int
    pages_in: int
    planning_ns: int
    predicted_ns: int | None
    measured_ns: int | None


@dataclass(frozen=True, slots=True, eq=False)
class TurnEffects:
    """All effects of one turn, tokens first. `generation` and the engine's incarnation fence late
    batches at the door.
    """

    stats: TurnStats
    tokens: TokensEmitted | None = None
    effects: tuple[Effect, ...] = ()
