"""A matrix made ready on this machine, and what it still lacks, run in several processes.

Owns what is left out (traces that cannot be had, policies that do not exist) and the sentences about
it, the order (a drain run, then the runs that need its rate), the processes, and what happens when
one ends, fails or is interrupted. What is measured stands in `cell`.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from ...core.errors import InternalError, InvalidSettings
from ...scheduler.registry import POLICY_NAMES
from ...scheduler.series import parse, spread
from ...workload.source import DATA_VARIABLE
from ..progress import Bar
from .cell import Jobs, Line, Run, SmallRun, drain, draw, measure, prepare
from .scenario import ALL, Matrix, Reference, TraceSource
from .store import Store


@dataclass(frozen=True, slots=True)
class Plan:
    """Jobs and loads and policies, all of them crossed; the small runs; and what the person should
    know.
    """

    jobs: tuple[Jobs, ...]
    loads: tuple[float, ...]
    policies: tuple[str, ...]
    small: tuple[SmallRun, ...]
    notes: tuple[str, ...]
    references: tuple[Reference, ...] = ()

    def cells(self) -> Iterator[tuple[Jobs, list[Run]]]:
        """Jobs that share a drain run, with their runs."""
        for jobs in self.jobs:
            yield jobs, [Run(jobs, load, policy) for load in self.loads for policy in self.policies]

    def __len__(self) -> int:
        return len(self.jobs) * len(self.loads) * len(self.policies) + len(self.small)


def make_plan(matrix: Matrix, data_folder: str | None) -> Plan:
    """Raises InvalidSettings when no trace or no policy of the matrix is there."""
    notes: list[str] = []
    policies = _policies(matrix, notes)
    sources = _sources(matrix, data_folder, notes)
    jobs = tuple(
        Jobs(
            trace=name,
            seed=seed,
            batch=batch,
            requests=matrix.requests,
            warmup=matrix.warmup,
            profile=matrix.profile,
            spread_s=0.0 if name.startswith("shape:") else source.spread_s,
            data_folder=data_folder,
        )
        for source, name in sources
        for seed in matrix.seeds
        for batch in matrix.batches
    )
    small = () if matrix.timeline is None else tuple(SmallRun(matrix.timeline, matrix.profile, one) for one in policies)
    return Plan(jobs, matrix.loads, policies, small, tuple(notes), matrix.references)


def _policies(matrix: Matrix, notes: list[str]) -> tuple[str, ...]:
    wanted = POLICY_NAMES if ALL in matrix.policies else matrix.policies
    wanted = tuple(dict.fromkeys(one for name in wanted for one in spread(name, matrix.tails)))
    unknown = [name for name in wanted if parse(name).policy not in POLICY_NAMES]
    if unknown:
        notes.append(f"left out, for this version has no such policy: {', '.join(unknown)}")
    known = tuple(name for name in wanted if name not in unknown)
    if not known:
        raise InvalidSettings("None of the policies exists.", field="policies", limit=f"of {', '.join(POLICY_NAMES)}")
    return known


def _sources(matrix: Matrix, data_folder: str | None, notes: list[str]) -> list[tuple[TraceSource, str]]:
    """Each trace with the name under which it is opened."""
    if data_folder is not None:
        return [(one, one.name) for one in matrix.traces]
    plain = [one for one in matrix.traces if one.name.startswith("shape:") or Path(one.name).is_file()]
    chosen = [(one, one.name) for one in plain]
    stand_ins = [one for one in matrix.traces if one not in plain and one.shape is not None]
    absent = [one.name for one in matrix.traces if one not in plain and one.shape is None]
    if stand_ins:
        names = ", ".join(f"{one.shape} for {one.name}" for one in stand_ins)
        notes.append(
            f"no data folder ({DATA_VARIABLE} or --data): shapes with Poisson arrivals stand in for traces: {names}"
        )
    if absent:
        notes.append(f"left out, for no shape stands in for them: {', '.join(absent)}")
    chosen += [(one, f"shape:{one.shape}") for one in stand_ins]
    if not chosen:
        raise InvalidSettings(
            f"None of the traces can be had: name their folder with --data or {DATA_VARIABLE}.", field="traces"
        )
    return chosen


Item = Jobs | Run | SmallRun
"""What a process is asked for: a drain rate, a run, a small run job by job."""


def _asked(item: Item) -> Line:
    if isinstance(item, Run):
        return measure(item)
    return draw(item) if isinstance(item, SmallRun) else drain(item)


class Remaining:
    """What is left of a plan, given what the store has."""

    def __init__(self, plan: Plan, store: Store, bar: Bar) -> None:
        self._store = store
        self._bar = bar
        self.failed = 0
        lacking = {jobs: [run for run in runs if store.find("run", run.key()) is None] for jobs, runs in plan.cells()}
        self._items: deque[Item] = deque(run for run in plan.small if store.find("timeline", run.key()) is None)
        self.runs = sum(len(runs) for runs in lacking.values()) + len(self._items)
        self._behind: dict[Jobs, list[Run]] = {}
        for jobs, runs in lacking.items():
            known = store.find("drain", jobs.key())
            if runs and known is not None:
                self._take_first(runs, known)
            elif runs:
                self._behind[jobs] = runs
                self._items.append(jobs)

    def _take_first(self, runs: Sequence[Run], drained: Line) -> None:
        """In front: the figures of a cell come together, and its jobs are read once."""
        rate = drained["drain_rate_per_s"]
        self._items.extendleft(replace(run, drain_rate_per_s=rate) for run in reversed(runs))

    def _done(self, item: Item, line: Line) -> None:
        behind = self._behind.pop(item) if isinstance(item, Jobs) else []
        if line["kind"] == "failed":
            runs, key = len(behind) or 1, line["key"]
            named = ("trace", "shape", "batch", "seed", "load", "policy")
            self._bar.note(f"{' '.join(str(key[name]) for name in named if name in key)} failed: {line['error']}")
            self.failed += runs
            self._bar.ended(runs)
            return
        self._store.add(line)
        if isinstance(item, Jobs):
            self._take_first(behind, line)
        else:
            self._bar.ended(1)

    def run(self, processes: int) -> None:
        """Do what is left. Raises InternalError when a process dies."""
        if processes == 1:
            while self._items:
                item = self._items.popleft()
                self._done(item, _asked(item))
            return
        with _pool(processes) as pool:
            under_way: dict[Future[Line], Item] = {}
            while self._items or under_way:
                while self._items and len(under_way) < processes:
                    item = self._items.popleft()
                    under_way[pool.submit(_asked, item)] = item
                for future in wait(under_way, return_when=FIRST_COMPLETED).done:
                    self._done(under_way.pop(future), future.result())


@contextmanager
def _pool(processes: int) -> Iterator[ProcessPoolExecutor]:
    pool = ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), _end_with_the_parent)
    try:
        with _interrupts_held():
            pool.submit(_nothing)  # the first task starts all processes
        yield pool
    except BrokenProcessPool:
        raise InternalError("A process of the matrix died; run it again, what is done is kept.") from None
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        for child in multiprocessing.active_children():
            child.terminate()
        raise
    finally:
        pool.shutdown()


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Ctrl-C comes after the block; in a process started within it when that is ready."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _nothing() -> None:
    return


def _end_with_the_parent() -> None:
    """In a child: the parent tells of Ctrl-C, and a child ends with a parent that was killed."""
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    threading.Thread(target=_leave_when_orphaned, daemon=True).start()


def _leave_when_orphaned() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def run_matrix(plan: Plan, store: Store, bar: Bar, processes: int) -> int:
    """Run what `store` lacks of `plan`; the number of runs that failed."""
    for reference in plan.references:
        given = reference.model_dump(mode="json")
        if store.find("reference", given) is None:
            store.add({"kind": "reference", "key": given})
    remaining = Remaining(plan, store, bar)
    for note in dict.fromkeys(note for jobs in plan.jobs for note in prepare(jobs)[1].notes):
        bar.note(note)
    total = len(plan)
    if remaining.runs < total:
        bar.note(f"{total - remaining.runs} of {total} runs are there already")
    bar.begin("runs", remaining.runs)
    remaining.run(processes)
    return remaining.failed
