"""Where jobs of one kind stand together: the cells of the adaptive ladder, and who stands in which.

Owns the cells, who waits in each by arrival, how many are and run there, each cell's level and
price, so that new hazards cost the cells in use and not the jobs; and the moves of a job between
cells with what hangs on them: its line, the counts, the sum of the demand. It does not know why a
job moves nor what learns; `policy` says where to, `head_start` gives head starts.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ...core.ids import Handle, Level
from ...core.policy import JobAttributes, Key, Tick
from ..census import Census
from ..lengths.forecast import Life
from ..lengths.hazards import NO_SCORE
from ..mlfq import MlfqJob
from ..ranking import Ranking
from .demand_table import DemandTable, class_of
from .head_start import OutstandingWork, width_at

_HALF_STEP = math.sqrt(0.5)


class Kind(NamedTuple):
    """What the jobs of a cell have in common. `prompt_class` COLD: nothing is learned, and
    `age_bin` is the level they stand on.
    """

    prompt_class: int
    quarters: int
    age_bin: int
    score: int = NO_SCORE


COLD = -1


def rung_of(index_ns: int, base_ns: int) -> int:
    """1 for an index of about the base, one more for each doubling: 1 + round(log2(index / base)),
    in exact steps.
    """
    mantissa, exponent = math.frexp(index_ns / base_ns)
    return exponent - (mantissa < _HALF_STEP) + 1


class Cell:
    """Jobs of one kind. `place` numbers the cells of a policy in the order of their first use.

    `rung` is the level, but goes on below 1: the expected demand of a job may be less than one
    iteration, for it shares it with others. `start` is the head start in units of W, for W at
    `step` of its grid. `priced` says by which of the tables.
    """

    __slots__ = ("expected_ns", "kind", "open", "place", "priced", "rung", "start", "step", "waiting")

    def __init__(self, kind: Kind, place: int) -> None:
        self.kind = kind
        self.place = place
        self.open = 0
        self.waiting = Ranking()
        self.rung = 1
        self.expected_ns = 1
        self.start = 0.0
        self.step: int | None = None
        self.priced: int | None = None

    @property
    def level(self) -> Level:
        """What the rung is called."""
        return Level(max(self.rung, 1))

    def ranked(self, boost_ns: int) -> Iterator[tuple[Key, Handle]]:
        """Waiting jobs by boosted arrival."""
        for arrival_ns, handle in self.waiting:
            yield (arrival_ns - boost_ns, handle), Handle(handle)


class Cells:
    """The cells of one policy. `work_ns` of all open jobs is the sum over cells of open jobs times
    expected demand; the owner keeps it.
    """

    def __init__(self, table: DemandTable, base_ns: int) -> None:
        self._table = table
        self._base_ns = base_ns
        self._cells: dict[Kind, Cell] = {}
        self.used: dict[Kind, Cell] = {}
        """Those with open jobs, in order of their last first use."""

    def enter(self, kind: Kind) -> Cell:
        """One more job of this kind."""
        cell = self.used.get(kind)
        if cell is None:
            cell = self._cells.get(kind)
            if cell is None:
                cell = self._cells[kind] = Cell(kind, len(self._cells) + 1)
            self._price(cell)
            self.used[kind] = cell
        cell.open += 1
        return cell

    def leave(self, cell: Cell) -> None:
        """One job less."""
        cell.open -= 1
        if not cell.open:
            del self.used[cell.kind]

    def reprice(self) -> int:
        """The table is new; answers the expected demand of all open jobs."""
        for cell in self.used.values():
            self._price(cell)
        return sum(cell.open * cell.expected_ns for cell in self.used.values())

    def boost_ns(self, cell: Cell, outstanding: OutstandingWork) -> int:
        """The head start of a cell's jobs."""
        if cell.kind.prompt_class == COLD:
            return outstanding.boost_ns(cell.rung)
        if cell.step != outstanding.step:
            cell.step = outstanding.step
            cell.start = self._table.head_start(*cell.kind, width_ns=width_at(cell.step))
        return round(cell.start * outstanding.width_ns)

    def _price(self, cell: Cell) -> None:
        if cell.priced == self._table.made:
            return
        cell.step, cell.priced = None, self._table.made
        prompt_class, quarters, age_bin, score = cell.kind
        if prompt_class == COLD:
            # Lomax lives of shape 1.5 have twice as much to come as they had; the level's quantum
            # stands for that.
            cell.rung, cell.expected_ns = age_bin, 2 * (self._base_ns << (age_bin - 1))
        else:
            price = self._table.price(prompt_class, quarters, age_bin, score)
            cell.rung, cell.expected_ns = rung_of(price.index_ns, self._base_ns), price.expected_ns


class AdaptiveJob(MlfqJob):
    """A job in a cell. `level` and `spent_before_ns` are the ladder's while nothing is learned;
    `age_bin` is the last bin that was counted.
    """

    __slots__ = ("age_bin", "cell", "life", "prompt_class")

    cell: Cell

    def __init__(self, attributes: JobAttributes, level: Level, life: Life, age_bin: int, tick: Tick) -> None:
        super().__init__(attributes, level, tick)
        self.prompt_class = class_of(attributes.prompt_tokens)
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
        job.cell.waiting.add((job.attributes.arrival_ns, job.attributes.handle))
        self.census.waits(job.attributes.handle, job.cell.place, job.waiting_since_ns)

    def wait_no_more(self, job: AdaptiveJob) -> None:
        """It left the line, not to run."""
        job.cell.waiting.remove((job.attributes.arrival_ns, job.attributes.handle))
        self.census.waits_no_more(job.attributes.handle, job.cell.place)

    def run(self, job: AdaptiveJob) -> None:
        """It left the line to run."""
        job.cell.waiting.remove((job.attributes.arrival_ns, job.attributes.handle))
        self.census.starts(job.attributes.handle, job.cell.place)

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
        """Level, open jobs, running jobs and the longest wait, summed over the cells of each level."""
        out: dict[Level, tuple[int, int, int]] = {}
        for cell in self.cells.used.values():
            jobs, running, wait_ns = out.get(cell.level, (0, 0, 0))
            longest_ns = self.census.longest_wait_ns(cell.place, now_ns)
            out[cell.level] = (jobs + cell.open, running + self.census.running(cell.place), max(wait_ns, longest_ns))
        return [(level, *counts) for level, counts in sorted(out.items())]
