"""Who stands in which cell: the jobs of the adaptive ladder, counted and in line.

Owns the moves of a job between cells and what hangs on them: its line, how many of a cell run, the
sum of the demand. It does not know why a job moves nor what learns; `adaptive` says where to.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ...core.ids import Handle, Level
from ...core.policy import JobFacts, Key, Tick
from ..census import Census
from ..lengths.forecast import Life
from ..mlfq import MlfqJob
from .cells import Cell, Cells, Kind
from .demand_table import class_of
from .head_start import OutstandingWork


class AdaptiveJob(MlfqJob):
    """A job in a cell. `level` and `spent_before_ns` are the ladder's while nothing is learned;
    `age_bin` is the last bin that was counted.
    """

    __slots__ = ("age_bin", "cell", "life", "prompt_class")

    cell: Cell

    def __init__(self, facts: JobFacts, level: Level, life: Life, age_bin: int, tick: Tick) -> None:
        super().__init__(facts, level, tick)
        self.prompt_class = class_of(facts.prompt_tokens)
        self.life = life
        self.age_bin = age_bin


class Occupancy:
    """Cells, lines and counts, and the work that is outstanding. O(log n) a change."""

    def __init__(self, cells: Cells, outstanding: OutstandingWork) -> None:
        self.cells = cells
        self.outstanding = outstanding
        self.census = Census()  # by place of the cell

    def enter(self, job: AdaptiveJob, kind: Kind) -> None:
        """The job is of this kind from now on."""
        job.cell = self.cells.enter(kind)
        self.outstanding.work_ns += job.cell.expected_ns

    def leave(self, job: AdaptiveJob) -> None:
        """It is not any more."""
        self.outstanding.work_ns -= job.cell.expected_ns
        self.cells.leave(job.cell)

    def wait(self, job: AdaptiveJob) -> None:
        """It stands in line, by arrival."""
        job.cell.waiting.add((job.facts.arrival_ns, job.facts.handle))
        self.census.waits(job.facts.handle, job.cell.place, job.waiting_since_ns)

    def wait_no_more(self, job: AdaptiveJob) -> None:
        """It left the line, not to run."""
        job.cell.waiting.remove((job.facts.arrival_ns, job.facts.handle))
        self.census.waits_no_more(job.facts.handle, job.cell.place)

    def run(self, job: AdaptiveJob) -> None:
        """It left the line to run."""
        job.cell.waiting.remove((job.facts.arrival_ns, job.facts.handle))
        self.census.starts(job.facts.handle, job.cell.place)

    def move(self, job: AdaptiveJob, kind: Kind) -> bool:
        """To another cell, waiting or running; answers whether it ranks worse there."""
        old = job.cell
        if not job.running:
            self.wait_no_more(job)
        self.leave(job)
        self.enter(job, kind)
        new = job.cell
        if job.running:
            self.census.runs_on(old.place, new.place)
        else:
            self.wait(job)
        return new.rung > old.rung

    def lines(self) -> list[Iterator[tuple[Key, Handle]]]:
        """The waiting jobs of every cell, each line by boosted arrival."""
        boost_ns, outstanding = self.cells.boost_ns, self.outstanding
        return [cell.ranked(boost_ns(cell, outstanding)) for cell in self.cells.used.values() if cell.waiting]

    def depths(self, now_ns: int) -> Sequence[tuple[Level, int, int, int]]:
        """Level, live jobs, running jobs and the longest wait, summed over the cells of each level."""
        out: dict[Level, tuple[int, int, int]] = {}
        for cell in self.cells.used.values():
            live, running, wait_ns = out.get(cell.level, (0, 0, 0))
            longest_ns = self.census.longest_wait_ns(cell.place, now_ns)
            out[cell.level] = (live + cell.live, running + self.census.running(cell.place), max(wait_ns, longest_ns))
        return [(level, *counts) for level, counts in sorted(out.items())]
