"""The policy port: what engine and planner ask of whatever ranks the jobs.

Owns `Policy` and the values that cross it: `Tick`, `JobAttributes`, `Key`, `Admission`, and `Dialled`
for policies with a dial. It knows no policy; `scheduler/` has them, and engine/assemble introduces
one to the planner.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

from .asked import NOTHING_ASKED, Asked
from .effects import LevelChanged
from .ids import DEFAULT_TENANT, Handle, Level, TenantId


class Tick(NamedTuple):
    """One instant on the engine's three clocks.

    `now_ns` is the wall (monotonic) clock; `decode_ns` is the decode clock: the sum, over the
    iterations launched so far, of the predicted time of their decode part; `steps` counts
    iterations that had a decode part. What a job did while it stood in the decode batch is a
    difference of two ticks: service = decode_ns - decode_ns at joining, tokens = steps - steps at
    joining. So an unchanged turn touches no job.
    """

    now_ns: int
    decode_ns: int
    steps: int


@dataclass(frozen=True, slots=True)
class Admission:
    """`spare_tokens` of growth must be there for everybody chosen and for the job itself. While a
    job that has begun and needs at most the share `holds_below` of the room waits to come back,
    nobody new enters below it; 0: nobody is held.
    """

    spare_tokens: int = 0
    holds_below: float = 0.0


PLAIN_ADMISSION = Admission()


@dataclass(frozen=True, slots=True)
class JobAttributes:
    """What a policy may know of a job when it arrives.

    `entry_ns` is the cost model's time for the uncached prompt as one chunk, the paper's t_init.
    `output_tokens` is None except in the simulator. `generated_tokens` counts tokens that were
    logged before (a takeover). `asked` is what the caller asked. `earlier_output_tokens` is the
    length of the newest earlier answer in this conversation, 0 when there is none.
    """

    handle: Handle
    arrival_ns: int
    prompt_tokens: int
    uncached_tokens: int
    entry_ns: int
    max_new_tokens: int
    generated_tokens: int = 0
    tenant: TenantId = DEFAULT_TENANT
    asked: Asked = NOTHING_ASKED
    earlier_output_tokens: int = 0
    output_tokens: int | None = None


Key = tuple[int, ...]
"""Place in a policy's total order: smaller is better. The last element is the handle, so that no
two jobs tie.
"""


class Policy(Protocol):
    """Who deserves to run. It never sees a page.

    engine/state calls the event methods, in time order, and nobody else does; the planner calls the
    questions. The batch seen from here: `join` when a launched plan holds the job and the last one
    did not; `leave` when it no longer does. Between the two it is *running*: while it prefills it
    is charged by `charge` (at launch); from `decoding` on it is charged the difference on the
    decode clock. A job that left is *waiting* from that tick's now_ns on.
    """

    @property
    def name(self) -> str:
        """As in `--policy`."""
        ...

    @property
    def version(self) -> int:
        """Moves whenever the answer of `order` or `key` may have changed other than by running jobs
        getting better placed.
        """
        ...

    @property
    def lower_may_pass(self) -> bool:
        """Whether jobs ranked below one that does not fit may run in room it cannot use (false:
        `fcfs`).
        """
        ...

    @property
    def preempts(self) -> bool:
        """Whether a better-ranked job takes slot and room from a running one (false: `fcfs` runs to
        completion).
        """
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
        """True for the oracle only: its moves take no time in the simulator; `serve` refuses such a
        policy.
        """
        ...

    # events
    # ---------------------------------------------------------------------------------------------------
    def submitted(self, attributes: JobAttributes, tick: Tick) -> Level:
        """A job arrives; answers the level it joined."""
        ...

    def join(self, handle: Handle, tick: Tick) -> None:
        """The job is in the batch that is being launched and was not in the one before."""
        ...

    def charge(self, handle: Handle, service_ns: int, computed_tokens: int, tick: Tick) -> None:
        """A running job was charged a prefill chunk of `computed_tokens` tokens costing
        `service_ns`.
        """
        ...

    def decoding(self, handle: Handle, tick: Tick) -> None:
        """The running job has its KV complete: from this tick on the decode clock charges it."""
        ...

    def leave(self, handle: Handle, tick: Tick) -> None:
        """The job left the batch unfinished and waits."""
        ...

    def removed(self, handle: Handle, tick: Tick, *, finished: bool = True) -> None:
        """The job ended, running or not; not `finished` when it was cut off: cancelled, expired or
        failed, so that its length is unknown.
        """
        ...

    def advance(self, tick: Tick) -> Sequence[LevelChanged]:
        """Time has passed `next_change_ns` or `next_crossing_ns`, or a running job was charged:
        demote who used up the quantum, make new offers.

        A job that has not emitted its first token is not demoted.
        """
        ...

    def grant(self, handle: Handle, tick: Tick) -> LevelChanged | None:
        """The planner can bring this starving job back now: promote it. None when the offer no
        longer stands.
        """
        ...

    # questions
    # ------------------------------------------------------------------------------------------------
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
        """Estimated nanoseconds until the job runs next (the paper's ENST), to order prefetch only;
        None: cannot say.
        """
        ...

    def depths(self, tick: Tick) -> Sequence[tuple[Level, int, int, int]]:
        """Per level: level, open jobs, running jobs, longest current wait in ns. O(levels) where it
        can be.
        """
        ...


@runtime_checkable
class Dialled(Protocol):
    """Between the lowest mean (0) and the safest tail (1)."""

    @property
    def tail(self) -> float:
        """Where it stands."""
        ...

    def set_tail(self, tail: float, tick: Tick) -> None:
        """Turn it; what was learned stays. Raises InvalidSettings."""
        ...
