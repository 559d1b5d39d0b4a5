"""Sweeps a live executor: iterations of many shapes, timed by the executor's own stamps, and the
link both ways.

Owns the plans of the sweep, which obey every rule of core/plan.py, so that any Executor can be
measured. It does not know models or devices and needs no torch; `profile measure` and the coarse
profile at start call it before an engine uses the executor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from statistics import median

import numpy as np

from ...core.asked import Asked
from ...core.clock import Clock
from ...core.errors import ExecutorLost, InvalidProfile
from ...core.executor import Executor, ExecutorFacts
from ...core.ids import Handle, HostSlot, MoveId, PageId
from ...core.outcome import IterationOutcome
from ...core.plan import Admit, BlockTable, DecodeBatch, Direction, Int64s, IterationPlan, Move, PrefillChunk
from ...core.sampling import SamplingParams
from ...cost.schema import Profile
from ...cost.sweep_row import SweepRow
from ..fit import fitted_profile

_REPEATS = 3
_SHORTEST = 32
_LONGEST = 2048
_MOVED_PAGES = 64
_GREEDY = SamplingParams(temperature=0.0, ignore_eos=True)


@dataclass(frozen=True, slots=True)
class Sweep:
    """Rows for the fit, and GB (10^9 bytes) a second on the link; None without host pages."""

    rows: tuple[SweepRow, ...]
    link_out_gbps: float | None
    link_in_gbps: float | None


def measure(
    executor: Executor,
    facts: ExecutorFacts,
    clock: Clock,
    *,
    max_batch: int = 64,
    max_prefill_tokens: int = 2048,
    budget_s: float = 10.0,
    progress: Callable[[float], None] = lambda share: None,
) -> Sweep:
    """Sweep prompt lengths, batch sizes, contexts and mixtures for about `budget_s` seconds, the
    cheap shapes first.

    The two shortest lengths at batch 1 and 2 are measured whatever they take; anything else only if
    it is expected to end in time. The executor must be started and idle, and is left empty.
    `progress` hears shares from 0 to 1. Raises InvalidProfile when pool or context are too small to
    tell the coefficients apart, ExecutorLost.
    """
    sizes = [1 << power for power in range(max(max_batch, 2).bit_length()) if 1 << power <= max(max_batch, 2)]
    growth = (1 + _REPEATS) * len(sizes) + sizes[-1]
    lengths = _lengths(facts, growth)
    begun_ns, budget_ns = clock.now_ns(), int(budget_s * 1e9)
    sweeper = _Sweeper(executor, facts, clock, growth, max_prefill_tokens)
    rows: list[SweepRow] = []
    for at, length in enumerate(lengths):
        end_ns = begun_ns + budget_ns * (at + 1) // len(lengths)
        if at >= 2 and clock.now_ns() + 3 * sweeper.prefill_ns(length) > begun_ns + budget_ns:
            break
        rows.extend(sweeper.at_length(length, sizes, end_ns))
        progress((at + 1) / (len(lengths) + 1))
    link_out, link_in = sweeper.link()
    sweeper.clear()
    progress(1.0)
    return Sweep(tuple(rows), link_out, link_in)


def profile_of(sweep: Sweep, facts: ExecutorFacts, *, model_name: str, device: str, dtype: str) -> Profile:
    """The fitted profile of an executor. Raises InvalidProfile when the sweep cannot tell the
    coefficients apart.
    """
    return fitted_profile(
        sweep.rows,
        model_name=model_name,
        device=device,
        dtype=dtype,
        kv_tokens=facts.device_pages * facts.page_tokens,
        host_kv_tokens=facts.host_pages * facts.page_tokens,
        token_bytes=facts.page_bytes // facts.page_tokens,
        links_gbps=(sweep.link_out_gbps, sweep.link_in_gbps),
        max_context_tokens=facts.max_context_tokens,
        source="Measured by skipjoin on the machine it is for.",
    )


def _lengths(facts: ExecutorFacts, growth: int) -> list[int]:
    """Prompt lengths, a factor of four apart, of which at least two jobs and their growth fit into
    the pool.
    """
    room = (facts.device_pages // 2) * facts.page_tokens
    longest = min(room, facts.max_context_tokens or room) - growth
    if longest < 2 * _SHORTEST:
        raise InvalidProfile(
            f"A pool of {facts.device_pages} pages, or the model's context, is too small to measure at this batch "
            "size.",
            field="kv_tokens",
            limit=f"a context of {growth + 2 * _SHORTEST} tokens, and twice that in the pool; or a smaller batch",
        )
    longest = min(longest, _LONGEST)
    lengths, length = [], _SHORTEST
    while 2 * length <= longest:
        lengths.append(length)
        length *= 4
    return [*lengths, longest]


@dataclass(slots=True)
class _Job:
    handle: Handle
    tokens: int
    pages: list[PageId] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _TimedChunk:
    """A chunk (tokens, context before) and the neighbours that decoded beside it, with their
    contexts.
    """

    chunk: tuple[int, int]
    jobs: int
    contexts: int
    took_ns: int


class _Sweeper:
    """Makes plans, submits them one at a time and reads the stamps."""

    def __init__(
        self, executor: Executor, facts: ExecutorFacts, clock: Clock, growth: int, max_prefill_tokens: int
    ) -> None:
        self._executor = executor
        self._facts = facts
        self._clock = clock
        self._growth = growth
        self._largest_chunk = max_prefill_tokens
        self._free = [PageId(page) for page in range(facts.device_pages)]
        self._draw = np.random.default_rng(0)
        self._seq = self._handles = self._moves = 0
        self._token_ns = 0.0  # of the last prefill alone
        self._dropped: list[Handle] = []

    def prefill_ns(self, tokens: int) -> int:
        """About how long a prompt takes, by the last one."""
        return int(self._token_ns * tokens)

    def at_length(self, length: int, sizes: Sequence[int], end_ns: int) -> Iterator[SweepRow]:
        """Rows around prompts of `length`: prefills alone and beside decoding neighbours, decodes
        at every batch size that fits.
        """
        first, _ = self._prefilled(length)  # not counted: whatever a new shape costs once
        self._drop([first])
        members: list[_Job] = []
        alone: dict[tuple[int, int], list[int]] = {}
        for size in sizes:
            if size > 2 and not self._has_room(size - len(members), length, end_ns):
                break
            while len(members) < size:
                beside = members if len(members) % 2 else []
                job, timed = self._prefilled(length, beside)
                for one in timed:
                    if one.jobs:
                        yield SweepRow((one.chunk,), one.jobs, one.contexts, one.took_ns)
                    else:
                        alone.setdefault(one.chunk, []).append(one.took_ns)
                members.append(job)
            yield self._decoded(members)
        for chunk, times in alone.items():
            yield SweepRow((chunk,), 0, 0, round(median(times)))
        self._drop(members)

    def link(self) -> tuple[float | None, float | None]:
        """GB/s out and in, the median of a few round trips of one job's full pages."""
        room = min(self._facts.host_pages, self._facts.device_pages // 2 - 1, _MOVED_PAGES)
        room = min(room, (self._facts.max_context_tokens or 1 << 30) // self._facts.page_tokens - 1)
        if room < 1:
            return None, None
        self._growth = 1
        job, _ = self._prefilled(room * self._facts.page_tokens)
        slots = [HostSlot(slot) for slot in range(room)]
        speeds: dict[Direction, list[float]] = {Direction.OUT: [], Direction.IN: []}
        for _ in range(_REPEATS):
            took_ns = self._moved(job, Direction.OUT, job.pages[:room], slots)
            speeds[Direction.OUT].append(room * self._facts.page_bytes / took_ns)
            fresh = [self._free.pop() for _ in range(room)]
            self._free.extend(job.pages[:room])
            job.pages[:room] = fresh
            took_ns = self._moved(job, Direction.IN, fresh, slots)
            speeds[Direction.IN].append(room * self._facts.page_bytes / took_ns)
        self._drop([job])
        return median(speeds[Direction.OUT]), median(speeds[Direction.IN])

    def clear(self) -> None:
        """Let the executor forget the last jobs."""
        self._run()

    def _has_room(self, jobs: int, length: int, end_ns: int) -> bool:
        pages = jobs * -(-(length + self._growth) // self._facts.page_tokens)
        return pages <= len(self._free) and self._clock.now_ns() + jobs * self.prefill_ns(length) <= end_ns

    def _prefilled(self, length: int, beside: Sequence[_Job] = ()) -> tuple[_Job, list[_TimedChunk]]:
        """A new job with its KV complete and its first token sampled."""
        self._handles += 1
        job = _Job(Handle(self._handles), length + 1)
        job.pages = [self._free.pop() for _ in range(-(-(length + self._growth) // self._facts.page_tokens))]
        tokens = self._draw.integers(0, self._facts.vocab_size, length, dtype=np.int32)
        admit = Admit(job.handle, tokens, length, length, Asked(_GREEDY), 0)
        timed = []
        for start in range(0, length, self._largest_chunk):
            size = min(self._largest_chunk, length - start)
            chunk = PrefillChunk(job.handle, start, size, start + size == length)
            if start == 0:  # the neighbours go along once, so that their growth does not depend on the chunks
                outcome = self._run(DecodeBatch(_handles(beside)), (chunk,), admits=(admit,), tables=(_table(job),))
            else:
                outcome = self._run(prefills=(chunk,))
            timed.append(_TimedChunk((size, start), len(beside), sum(one.tokens for one in beside), _took_ns(outcome)))
            for one in beside:
                one.tokens += 1
            beside = ()
        if len(timed) > 1 or not timed[0].jobs:
            self._token_ns = sum(one.took_ns for one in timed) / length
        return job, timed

    def _decoded(self, members: Sequence[_Job]) -> SweepRow:
        """The median of a few decode iterations of all members, after one that is not counted."""
        batch, times, contexts = DecodeBatch(_handles(members)), [], []
        for _ in range(1 + _REPEATS):
            contexts.append(sum(one.tokens for one in members))
            times.append(_took_ns(self._run(decode=batch)))
            for one in members:
                one.tokens += 1
        return SweepRow((), len(members), round(median(contexts[1:])), round(median(times[1:])))

    def _moved(self, job: _Job, direction: Direction, pages: Sequence[PageId], slots: Sequence[HostSlot]) -> int:
        self._moves += 1
        columns = np.array(pages, dtype=np.int32), np.array(slots, dtype=np.int32)
        move = Move(MoveId(self._moves), direction, job.handle, *columns)
        outcome = self._run(moves=(move,), tables=(_table(job),) if direction is Direction.IN else ())
        started_ns = outcome.started_ns
        while move.move_id not in outcome.landed:
            outcome = self._run()
        return max(outcome.ended_ns - started_ns, 1)

    def _drop(self, jobs: Sequence[_Job]) -> None:
        for job in jobs:
            self._dropped.append(job.handle)
            self._free.extend(job.pages)

    def _run(
        self,
        decode: DecodeBatch | None = None,
        prefills: tuple[PrefillChunk, ...] = (),
        *,
        admits: tuple[Admit, ...] = (),
        tables: tuple[BlockTable, ...] = (),
        moves: tuple[Move, ...] = (),
    ) -> IterationOutcome:
        """Submit one plan, with the handles dropped since the last, and wait for its outcome."""
        self._seq += 1
        dropped, self._dropped = tuple(self._dropped), []
        plan = IterationPlan(
            self._seq,
            self._facts.generation,
            decode=DecodeBatch() if decode is None else decode,
            prefills=prefills,
            admits=admits,
            tables=tables,
            moves=moves,
            dropped=dropped,
        )
        self._executor.submit(plan)
        outcome = self._executor.poll(None)
        if outcome is None:
            raise ExecutorLost("The executor gave no answer to a plan.")
        return outcome


def _table(job: _Job) -> BlockTable:
    return BlockTable(job.handle, np.array(job.pages, dtype=np.int32))


def _handles(jobs: Sequence[_Job]) -> Int64s:
    return np.array([job.handle for job in jobs], dtype=np.int64)


def _took_ns(outcome: IterationOutcome) -> int:
    return max(outcome.ended_ns - outcome.started_ns, 1)
