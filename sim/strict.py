"""An executor that trusts nobody: it carries the contents of every page as symbols and checks each
plan against the rules of core/plan.py.

Owns the symbolic pools: which job's which block a slot holds and how far it is filled. It wraps
another executor, usually a `SimExecutor`, and does not know who planned; tests run engines against
it, so that a block freed early, moved twice or read before it landed is found in the turn that does
it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NoReturn

from ..core.errors import InvariantViolation
from ..core.executor import Executor, ExecutorFacts
from ..core.ids import Handle, MoveId
from ..core.outcome import IterationOutcome
from ..core.plan import Direction, IterationPlan, Move


@dataclass(frozen=True, slots=True)
class Content:
    """What a slot holds: the first `filled` tokens of block `block` of the job's `life`-th
    admission.
    """

    handle: int
    life: int
    block: int
    filled: int


@dataclass(slots=True)
class _Job:
    """What an executor knows of a job."""

    life: int
    known: int
    computed: int = 0
    table: list[int] = field(default_factory=list)


class StrictExecutor:
    """Executor port: checks, then hands on. Raises InvariantViolation naming plan, job and page."""

    def __init__(self, inner: Executor) -> None:
        self._inner = inner
        self._facts = inner.start()
        self._jobs: dict[int, _Job] = {}
        self._lives = 0
        self._device: dict[int, Content] = {}
        self._host: dict[int, Content] = {}
        self._moves: dict[MoveId, tuple[Move, tuple[Content, ...]]] = {}
        self._seq = 0

    def start(self) -> ExecutorFacts:
        """The inner executor's facts."""
        return self._facts

    def submit(self, plan: IterationPlan) -> None:
        """Check the plan, carry it out on the symbols, hand it on."""
        self._seq = plan.seq
        for handle in plan.dropped:
            self._jobs.pop(handle, None)
        for admit in plan.admits:
            self._lives += 1
            self._jobs[admit.handle] = _Job(self._lives, admit.known_tokens)
        for table in plan.tables:
            self._job(table.handle).table = self._pages(table.pages.tolist())
        for handle, page in zip(plan.new_pages.handles.tolist(), plan.new_pages.pages.tolist(), strict=True):
            self._job(handle).table += self._pages([page])
        read, written = self._compute(plan)
        moved: set[int] = set()
        for move in plan.moves:
            clean = written if move.direction is Direction.OUT else read | written
            self._start_move(move, clean, moved)
        self._inner.submit(plan)

    def poll(self, timeout_ns: int | None) -> IterationOutcome | None:
        """The inner outcome; its landed moves reach their destination."""
        outcome = self._inner.poll(timeout_ns)
        if outcome is not None:
            for move_id in outcome.landed:
                self._land(move_id)
        return outcome

    def close(self) -> None:
        """Close the inner executor."""
        self._inner.close()

    # the batch
    # ------------------------------------------------------------------------------------------------
    def _compute(self, plan: IterationPlan) -> tuple[set[int], set[int]]:
        """Every member reads and writes its blocks; answers the pages that are read and those that
        are written.
        """
        read: set[int] = set()
        written: set[int] = set()
        seen: set[int] = set()
        for handle in plan.decode.handles.tolist():
            job = self._member(handle, seen)
            if job.computed != job.known - 1:
                self._fail(f"job {handle} decodes with {job.computed} of {job.known} tokens computed")
            self._extend(handle, job, 1, read, written)
            job.known += 1
        for chunk in plan.prefills:
            job = self._member(chunk.handle, seen)
            if chunk.start != job.computed or chunk.length < 1 or chunk.start + chunk.length > job.known:
                self._fail(
                    f"job {chunk.handle}, {job.computed} of {job.known} tokens computed, is to compute"
                    f" {chunk.length} from {chunk.start}"
                )
            if chunk.last != (chunk.start + chunk.length == job.known):
                self._fail(f"the chunk of job {chunk.handle} says last={chunk.last} wrongly")
            self._extend(chunk.handle, job, chunk.length, read, written)
            job.known += chunk.last
        return read, written

    def _member(self, handle: int, seen: set[int]) -> _Job:
        if handle in seen:
            self._fail(f"job {handle} stands in the batch twice")
        seen.add(handle)
        return self._job(handle)

    def _extend(self, handle: int, job: _Job, tokens: int, read: set[int], written: set[int]) -> None:
        """Check all earlier blocks, then write `tokens` more."""
        size = self._facts.page_tokens
        end = job.computed + tokens
        blocks = -(-end // size)
        if blocks > len(job.table):
            self._fail(f"job {handle} needs {blocks} pages and has a table of {len(job.table)}")
        for block, page in enumerate(job.table[:blocks]):
            before = min(job.computed - block * size, size)
            if before > 0 and self._device.get(page) != Content(handle, job.life, block, before):
                self._fail(
                    f"job {handle} reads block {block} ({before} tokens) in page {page}, which holds"
                    f" {self._device.get(page)}"
                )
            after = min(end - block * size, size)
            if after > max(before, 0):
                self._device[page] = Content(handle, job.life, block, after)
                written.add(page)
            else:
                read.add(page)
        job.computed = end

    # moves
    # ----------------------------------------------------------------------------------------------------
    def _start_move(self, move: Move, used: set[int], moved: set[int]) -> None:
        if move.move_id in self._moves:
            self._fail(f"move {move.move_id} is under way already")
        if not len(move.pages) or len(move.pages) != len(move.host_slots):
            self._fail(f"move {move.move_id} has {len(move.pages)} pages and {len(move.host_slots)} host slots")
        pages, slots = self._pages(move.pages.tolist()), move.host_slots.tolist()
        for page in pages:
            if page in used:
                self._fail(f"page {page} is used by the batch and by move {move.move_id}")
            if page in moved:
                self._fail(f"page {page} is in two moves, the second is {move.move_id}")
            moved.add(page)
        if not all(0 <= slot < self._facts.host_pages for slot in slots):
            self._fail(f"move {move.move_id} names a host slot outside the pool")
        source, names = (self._device, pages) if move.direction is Direction.OUT else (self._host, slots)
        contents = []
        for name in names:
            content = source.get(name)
            if content is None or content.handle != move.handle:
                self._fail(f"move {move.move_id} {move.direction.value} of job {move.handle} copies {content}")
            contents.append(content)
        self._moves[move.move_id] = (move, tuple(contents))
        target, names = (self._host, slots) if move.direction is Direction.OUT else (self._device, pages)
        for name in names:
            target.pop(name, None)  # nobody may read it until the move has landed

    def _land(self, move_id: MoveId) -> None:
        if move_id not in self._moves:
            self._fail(f"move {move_id} landed and was not under way")
        move, contents = self._moves.pop(move_id)
        pages, slots = move.pages.tolist(), move.host_slots.tolist()
        out = move.direction is Direction.OUT
        source, target = (self._device, self._host) if out else (self._host, self._device)
        for origin, goal, content in zip(*((pages, slots) if out else (slots, pages)), contents, strict=True):
            if source.get(origin) != content:
                self._fail(f"slot {origin} changed from {content} to {source.get(origin)} under move {move_id}")
            if goal in target:
                self._fail(f"slot {goal} was written with {target[goal]} under move {move_id}")
            target[goal] = content

    # small things
    # ---------------------------------------------------------------------------------------------
    def _job(self, handle: Handle | int) -> _Job:
        job = self._jobs.get(handle)
        if job is None:
            self._fail(f"job {handle} was never admitted or was dropped")
        return job

    def _pages(self, pages: Iterable[int]) -> list[int]:
        listed = list(pages)
        for page in listed:
            if not 0 <= page < self._facts.device_pages:
                self._fail(f"page {page} lies outside the pool of {self._facts.device_pages}")
        return listed

    def _fail(self, what: str) -> NoReturn:
        raise InvariantViolation(f"Plan {self._seq}: {what}.")
