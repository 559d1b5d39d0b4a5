"""Runs what a matrix still lacks, in several processes.

Owns the order (a drain run, then the runs that need its rate), the processes, and what happens when
one ends, fails or is interrupted. What is measured stands in `cell` and `timeline`.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, replace

from ...core.errors import InternalError
from ..progress import Bar
from .cell import Jobs, Line, Run, drain, measure, prepare
from .plan import Plan
from .store import Store
from .timeline import SmallRun, draw


@dataclass(frozen=True, slots=True)
class Task:
    """What a process is asked for, and what waits for its answer."""

    ask: Callable[[], Line]
    done: Callable[[Line], None]


@dataclass(frozen=True, slots=True)
class _Call:
    """A measurement with its argument, which can be sent to another process."""

    job: Jobs | Run | SmallRun

    def __call__(self) -> Line:
        if isinstance(self.job, Run):
            return measure(self.job)
        return draw(self.job) if isinstance(self.job, SmallRun) else drain(self.job)


class Matrix:
    """What is left of a plan, given what the store has."""

    def __init__(self, plan: Plan, store: Store, bar: Bar) -> None:
        self._store = store
        self._bar = bar
        self.failed = 0
        self._tasks: deque[Task] = deque()
        lacking = {jobs: [run for run in runs if store.find("run", run.key()) is None] for jobs, runs in plan.cells()}
        small = [run for run in plan.small if store.find("timeline", run.key()) is None]
        self.lacking = sum(len(runs) for runs in lacking.values()) + len(small)
        for run in small:
            self._tasks.append(Task(_Call(run), self._keep))
        for jobs, runs in lacking.items():
            if runs:
                self._drained(jobs, runs)

    def _drained(self, jobs: Jobs, runs: Sequence[Run]) -> None:
        """Queue `runs`, behind the drain run of their jobs if its rate is not known."""
        known = self._store.find("drain", jobs.key())
        if known is not None:
            self._queue(runs, known["drain_rate_per_s"])
            return

        def then(line: Line) -> None:
            if line["kind"] == "failed":
                self._fail(line, len(runs))
                return
            self._store.add(line)
            self._queue(runs, line["drain_rate_per_s"])

        self._tasks.append(Task(_Call(jobs), then))

    def _queue(self, runs: Sequence[Run], rate: float) -> None:
        """In front: the figures of a cell come together, and its jobs are read once."""
        for run in reversed(runs):
            self._tasks.appendleft(Task(_Call(replace(run, drain_rate_per_s=rate)), self._keep))

    def _keep(self, line: Line) -> None:
        if line["kind"] == "failed":
            self._fail(line, 1)
            return
        self._store.add(line)
        self._bar.ended(1)

    def _fail(self, line: Line, runs: int) -> None:
        self.failed += runs
        key = line["key"]
        what = " ".join(str(key[name]) for name in ("trace", "shape", "batch", "seed", "load", "policy") if name in key)
        self._bar.note(f"{what} failed: {line['error']}")
        self._bar.ended(runs)

    def run(self, processes: int) -> None:
        """Do what is left. Raises InternalError when a process dies."""
        if processes == 1:
            while self._tasks:
                task = self._tasks.popleft()
                task.done(task.ask())
            return
        with _pool(processes) as pool:
            under_way: dict[Future[Line], Task] = {}
            while self._tasks or under_way:
                while self._tasks and len(under_way) < processes:
                    task = self._tasks.popleft()
                    under_way[pool.submit(task.ask)] = task
                for future in wait(under_way, return_when=FIRST_COMPLETED).done:
                    under_way.pop(future).done(future.result())


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
    matrix = Matrix(plan, store, bar)
    for note in dict.fromkeys(note for jobs in plan.jobs for note in prepare(jobs)[1].notes):
        bar.note(note)
    total = len(plan)
    if matrix.lacking < total:
        bar.note(f"{total - matrix.lacking} of {total} runs are there already")
    bar.begin("runs", matrix.lacking)
    matrix.run(processes)
    return matrix.failed
