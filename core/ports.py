"""The seams: what a policy, a cost model, an executor and a job pool must be able to do.

Owns the Protocols and the small values that cross them. It knows no implementation; engine/assemble and serving/wiring introduce the concretes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from .admission import Admission
from .effects import LevelChanged
from .ids import DEFAULT_TENANT, Handle, JobId, Level, TenantId
from .outcome import IterationOutcome
from .plan import IterationPlan
from .pool import JobPage, JobQuery, JobRecord, LogBatch, NewJob, PoolDepth, TokenSlice
from .tick import Tick as Tick  # re-exported: every method of a policy is told one


@dataclass(frozen=True, slots=True)
class JobFacts:
    """What a policy may know of a job when it arrives.

    `entry_ns` is the cost model's time for the uncached prompt as one chunk, the paper's t_init. `output_tokens` is None except in the
    simulator. `generated_tokens` counts tokens that were logged before (a takeover). `priority`: smaller is more urgent; read by the policy
    `priority` only. `earlier_output_tokens` is the length of the newest earlier answer in this conversation, 0 when there is none.
    """

    handle: Handle
    arrival_ns: int
    prompt_tokens: int
    uncached_tokens: int
    entry_ns: int
    max_new_tokens: int
    generated_tokens: int = 0
    tenant: TenantId = DEFAULT_TENANT
    priority: int = 0
    earlier_output_tokens: int = 0
    output_tokens: int | None = None


Key = tuple[int, ...]
"""Place in a policy's total order: smaller is better. The last element is the handle, so that no two jobs tie."""


class Policy(Protocol):
    """Who deserves to run. It never sees a page.

    engine/state calls the event methods, in time order, and nobody else does; the planner calls the questions.
    The batch seen from here: `join` when a launched plan holds the job and the last one did not; `leave` when it no longer does.
    Between the two it is *running*: while it prefills it is charged by `charge` (at launch); from `decoding` on it is charged the
    difference on the decode clock. A job that left is *waiting* from that tick's now_ns on.
    """

    @property
    def name(self) -> str:
        """As in `--policy`."""
        ...

    @property
    def version(self) -> int:
        """Moves whenever the answer of `order` or `key` may have changed other than by running jobs getting better placed."""
        ...

    @property
    def lower_may_pass(self) -> bool:
        """Whether jobs ranked below one that does not fit may run in room it cannot use (false: `fcfs`)."""
        ...

    @property
    def preempts(self) -> bool:
        """Whether a better-ranked job takes slot and room from a running one (false: `fcfs` runs to completion)."""
        ...

    @property
    def swaps(self) -> bool:
        """Whether victims may go to the host (false: `fcfs` computes them again)."""
        ...

    @property
    def admission(self) -> Admission:
        """What must be there before a job enters or returns."""
        ...

    @property
    def moves_are_free(self) -> bool:
        """True for the oracle only: its moves take no time in the simulator; `serve` refuses such a policy."""
        ...

    # events ---------------------------------------------------------------------------------------------------
    def submitted(self, facts: JobFacts, tick: Tick) -> Level:
        """A job arrives; answers the level it joined."""
        ...

    def join(self, handle: Handle, tick: Tick) -> None:
        """The job is in the batch that is being launched and was not in the one before."""
        ...

    def charge(self, handle: Handle, service_ns: int, computed_tokens: int, tick: Tick) -> None:
        """A running job was charged a prefill chunk of `computed_tokens` tokens costing `service_ns`."""
        ...

    def decoding(self, handle: Handle, tick: Tick) -> None:
        """The running job has its KV complete: from this tick on the decode clock charges it."""
        ...

    def leave(self, handle: Handle, tick: Tick) -> None:
        """The job left the batch unfinished and waits."""
        ...

    def removed(self, handle: Handle, tick: Tick, *, finished: bool = True) -> None:
        """The job ended, running or not; not `finished` when it was cut off: cancelled, expired or failed, so that its length is unknown."""
        ...

    def advance(self, tick: Tick) -> Sequence[LevelChanged]:
        """Time has passed `next_change_ns` or `next_crossing_ns`, or a running job was charged: demote who used up the quantum, make new offers.

        A job that has not emitted its first token is not demoted.
        """
        ...

    def grant(self, handle: Handle, tick: Tick) -> LevelChanged | None:
        """The planner can bring this starving job back now: promote it. None when the offer no longer stands."""
        ...

    # questions ------------------------------------------------------------------------------------------------
    def order(self, tick: Tick) -> Iterator[tuple[Key, Handle]]:
        """All jobs best first, lazily: reading the first k costs O(k), not O(jobs)."""
        ...

    def key(self, handle: Handle, tick: Tick) -> Key:
        """The place of one job in the same total order."""
        ...

    def level(self, handle: Handle) -> Level:
        """The level the job is on now."""
        ...

    def next_change_ns(self) -> int | None:
        """When, on the wall clock, the order or the offers change without an event. None: never."""
        ...

    def next_crossing_ns(self) -> int | None:
        """When, on the decode clock, the first running decode job uses up its quantum. None: never."""
        ...

    def offers(self) -> Sequence[Handle]:
        """Waiting jobs overdue for promotion, longest overdue first."""
        ...

    def next_run_ns(self, handle: Handle, tick: Tick, max_batch: int) -> int | None:
        """Estimated nanoseconds until the job runs next (the paper's ENST), to order prefetch only; None: cannot say."""
        ...

    def depths(self, tick: Tick) -> Sequence[tuple[Level, int, int, int]]:
        """Per level: level, live jobs, running jobs, longest current wait in ns. O(levels) where it can be."""
        ...


class CostModel(Protocol):
    """Predicted times of one (model, device, parallelism), in whole nanoseconds. Pure.

    iteration = A + P1*prefill_tokens + P2*sum(chunk * context incl. the chunk) + D1*sum(decode contexts) + D2*decode_batch
    """

    def chunk_ns(self, tokens: int, context_before: int) -> int:
        """A prefill chunk's own time, without the fixed term A."""
        ...

    def prompt_ns(self, tokens: int) -> int:
        """A whole prompt as one chunk in an iteration of its own: the paper's t_init, with A."""
        ...

    def decode_ns(self, batch: int, context_sum: int) -> int:
        """The decode part of an iteration, with A; 0 for an empty batch."""
        ...

    def iteration_ns(self, chunks: Sequence[tuple[int, int]], batch: int, context_sum: int) -> int:
        """An iteration of `chunks` (tokens, context before) and `batch` decode members; 0 for nothing at all."""
        ...

    def move_ns(self, tokens: int) -> int:
        """Time on the link for the KV of `tokens` tokens, one way."""
        ...

    def alone_ns(self, prompt_tokens: int, output_tokens: int) -> int:
        """Latency of a job that has the machine to itself: the denominator of slowdown."""
        ...


@dataclass(frozen=True, slots=True)
class ExecutorFacts:
    """What the executor found at start: pool sizes in pages (minimum over ranks) and its generation."""

    generation: int
    device_pages: int
    host_pages: int
    page_tokens: int
    page_bytes: int
    max_context_tokens: int | None
    vocab_size: int


class Executor(Protocol):
    """Carries out plans. The turn cannot tell a real one from a simulated one."""

    def start(self) -> ExecutorFacts:
        """Load, allocate, warm up. Raises InvalidModel or ExecutorLost."""
        ...

    def submit(self, plan: IterationPlan) -> None:
        """Take a plan; plans are carried out in order. Returns at once or after computing, as it likes. Raises ExecutorLost."""
        ...

    def poll(self, timeout_ns: int | None) -> IterationOutcome | None:
        """The outcome of the oldest plan not yet answered, waiting at most `timeout_ns` (None: for ever); None on time-out.

        A plan without compute is answered as soon as a move landed or at once when none is in flight.
        """
        ...

    def close(self) -> None:
        """Give everything back; idempotent."""
        ...


class JobReader(Protocol):
    """Questions to the durable pool. Methods are synchronous and called from one thread; a stored job that is damaged is DataLoss.

    They raise StoreUnavailable when the pool cannot be read now.
    """

    def first_of(self, job: NewJob) -> JobRecord | None:
        """The job that was stored under the same tenant and request_id, None without one. Raises Conflict when the body differs."""
        ...

    def get(self, job_id: JobId) -> JobRecord:
        """The job without prompt and tokens. Raises NotFound."""
        ...

    def tokens(self, job_id: JobId, offset: int) -> TokenSlice:
        """The log from `offset` on. Raises NotFound, OffsetOutOfRange."""
        ...

    def list(self, query: JobQuery) -> JobPage:
        """Jobs newest first, paged, without prompts. Raises InvalidInput for a forged page token."""
        ...

    def depth(self) -> PoolDepth:
        """Counts by state."""
        ...

    def unfinished(self) -> Mapping[TenantId, int]:
        """Jobs that are not final, by tenant; tenants without one are left out."""
        ...

    def close(self) -> None:
        """Close; idempotent. A pool closes after its readers."""
        ...


class JobPool(JobReader, Protocol):
    """The durable pool: jobs, their states and their token logs. Methods are synchronous and called from one thread.

    Every method that writes returns only when the write is on stable storage (`durable`), and raises StoreUnavailable when it cannot.
    """

    @property
    def durable(self) -> bool:
        """False: acknowledged jobs are gone with the process, and whoever starts it is told."""
        ...

    def open_epoch(self, owner: str) -> int:
        """A new owner takes the pool: answers its epoch, larger than all before. Writes under an older epoch are refused from now on."""
        ...

    def reader(self) -> JobReader | None:
        """A second way in that only reads and waits for no write, for the calling thread; None: ask the pool itself, on its own thread."""
        ...

    def look(self) -> None:
        """Whether what is written now would be found after a restart, in microseconds. Raises StoreUnavailable."""
        ...

    def probe(self) -> None:
        """Write something that changes nothing: whether the pool can be written. Raises StoreUnavailable."""
        ...

    def submit(self, jobs: Sequence[NewJob]) -> list[JobRecord | Exception]:
        """Store jobs in one commit. Per job: its record (the first one's on a repeated request_id), or Conflict when the body differs."""
        ...

    def claim(self, epoch: int, limit: int) -> list[JobRecord]:
        """Up to `limit` jobs, oldest first, ACCEPTED or CLAIMED under an older epoch, with prompt and tokens so far; they become CLAIMED(epoch)."""
        ...

    def commit(self, epoch: int, batch: LogBatch) -> None:
        """Append one turn's tokens and ends in one commit.

        Writes nothing and raises InvariantViolation when a position is not the log's length, WrongState when `epoch` is an old one.
        """
        ...

    def cancel(self, job_id: JobId, reason: str) -> JobRecord:
        """ACCEPTED: becomes CANCELLED at once. CLAIMED: is marked, the owner ends it. Final: unchanged. Raises NotFound."""
        ...

    def mark_crash(self, epoch: int, job_ids: Sequence[JobId]) -> None:
        """Count one engine crash against these jobs: after two a job runs alone."""
        ...

    def sweep(self, now_unix_ns: int, keep_ns: int) -> int:
        """Expire ACCEPTED jobs past their deadline, delete final jobs older than `keep_ns`; answers how many were touched. Call until it is 0."""
        ...
