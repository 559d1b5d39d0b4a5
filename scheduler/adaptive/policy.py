"""The adaptive ladder: levels by what a job is expected to need still, ranked by boosted arrival.

Owns who stands on which level and when that is looked at again. It knows neither pages nor batch
limits: engine/state tells it what happened, the planner reads its order (docs/algorithm.md, "The
adaptive ladder"). Lengths, prices, cells and head starts are their own files.

A map. What happens to a job moves it between cells; a cell has a level, a price and a head start:

    submitted            its prompt gives the cell; it waits there by arrival    `_kind`, Occupancy
    join, leave          it ranks as a runner, or waits in its cell again        `_running`
    charge, decoding     less prompt is left, or a token more is made            `_move`, `_watch`
    advance              it outlived its bin of ages: another cell, a demotion   `_crossings`
    removed              its length is learned; now and then all cells change    `_learn`
    order, key           arrival - head start - bonus of a runner                `_runs_at_ns`

An example (tests/scheduler/test_adaptive_example.py): an iteration takes 20 ms and a prompt token
0.1 ms, the dial stands at 0.65, and nothing is learned, so a level expects twice its quantum.
Three jobs, 280 ms of work: W is 0.218 * 280 = 61 ms, a runner's bonus 280 / 4 * ln 2 = 49 ms.

    job   prompt   arrives   level   expects   head start   ranks at   while it runs
    1     610      0 ms      3       160 ms    19 ms        -19 ms     -68 ms
    2     210      0 ms      2       80 ms     45 ms        -45 ms     -93 ms
    3     10       50 ms     1       40 ms     78 ms        -28 ms     -77 ms

Where job 1 runs already it goes on, and 2 is before 3. Had it not begun, the order would be 2, 3,
1: the short job passes one that came 50 ms before it, and not one that is short itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from heapq import merge

from ...core.cost_model import CostModel
from ...core.effects import LevelCause, LevelChanged
from ...core.ids import Handle, Level
from ...core.policy import Admission, JobAttributes, Key, Tick
from ..calendar import Calendar
from ..ladder import Ladder
from ..lengths.forecast import Forecast
from ..lengths.hazards import BINS, EDGES, bin_of
from ..no_offers import NoOffers
from ..params import LadderParams
from .cells import COLD, AdaptiveJob, Cells, Kind, Occupancy
from .demand import Demand
from .demand_table import SHARES, DemandTable
from .head_start import DEFAULT_TAIL, OutstandingWork

SPARE_TOKENS = 48
SPARE_SHARE = 8
"""Room for growth per chosen job: so many tokens, and no more than an eighth of a job's fair share
of the room, or a small pool would stand empty.
"""

MOVES_SPARED = 120
"""A runner's place is worth so many copies of its KV: who would have to be copied out and in is not
passed for little.
"""


class AdaptivePolicy(NoOffers):
    """Level = round(log2 of the Gittins index of the remaining demand); rank = arrival - head start
    of the cell - bonus of a runner.

    Levels rise and fall with what is learned. While no hazard is made of counts, a job joins and
    drops as under `skipjoin`. `tail` is the dial: 1 holds the tail, 0 the mean.
    """

    name = "adaptive"
    lower_may_pass = True
    preempts = True
    swaps = True
    moves_are_free = False

    def __init__(
        self,
        cost: CostModel,
        demand: Demand,
        params: LadderParams | None = None,
        *,
        tail: float = DEFAULT_TAIL,
        forecast: Forecast | None = None,
    ) -> None:
        """`forecast` may have learned before; none: a fresh one that goes by prompts alone."""
        params = params or LadderParams()
        base_ns = params.base_quantum_ns or cost.decode_ns(1, 0)
        self.version = 0
        self._cost = cost
        self.admission = Admission(spare_tokens=_spare_tokens(demand), holds_below=0.15)
        self.ladder = Ladder(base_ns, 2.0)
        self.forecast = forecast or Forecast()
        self._table = DemandTable(demand, self.forecast)
        self._outstanding = OutstandingWork(base_ns, tail)
        self._occupancy = Occupancy(Cells(self._table, base_ns), self._outstanding)
        self._jobs: dict[Handle, AdaptiveJob] = {}
        self._running: dict[Handle, AdaptiveJob] = {}
        self._crossings = Calendar()  # decode clock: who leaves the bin, or uses up the quantum, when

    @property
    def tail(self) -> float:
        """Where the dial stands."""
        return self._outstanding.tail

    def set_tail(self, tail: float, tick: Tick) -> None:
        """Turn the dial. Raises InvalidSettings."""
        self._outstanding.turn(tail)
        self._reorder(tick)

    # events
    # ---------------------------------------------------------------------------------------------------
    def submitted(self, attributes: JobAttributes, tick: Tick) -> Level:
        """Join the cell of the prompt."""
        entry = self.ladder.entry_level(attributes.entry_ns)
        job = AdaptiveJob(
            attributes, entry, self.forecast.expect(attributes), bin_of(attributes.generated_tokens), tick
        )
        self._jobs[attributes.handle] = job
        self._occupancy.enter(job, self._kind(job))
        self._occupancy.wait(job)
        self._reorder(tick)
        return job.cell.level

    def join(self, handle: Handle, tick: Tick) -> None:
        """The job runs, and ranks as a runner."""
        job = self._jobs[handle]
        job.join()
        self._occupancy.run(job)
        self._running[handle] = job
        self.version += 1

    def charge(self, handle: Handle, service_ns: int, computed_tokens: int, tick: Tick) -> None:
        """A chunk: less of the prompt is left."""
        job = self._jobs[handle]
        job.charge(service_ns, computed_tokens)
        self._move(job, tick)
        self._watch(job, tick)

    def decoding(self, handle: Handle, tick: Tick) -> None:
        """From now on the job ages."""
        job = self._jobs[handle]
        job.decode(tick)
        self._move(job, tick)
        self._watch(job, tick)

    def leave(self, handle: Handle, tick: Tick) -> None:
        """The job waits, where its arrival and its age put it."""
        job = self._jobs[handle]
        job.leave(tick)
        self._occupancy.census.stops(job.cell.place)
        del self._running[handle]
        self._occupancy.wait(job)
        self._move(job, tick)
        self._watch(job, tick)
        self.version += 1

    def removed(self, handle: Handle, tick: Tick, *, finished: bool = True) -> None:
        """The job is gone; if it had all its tokens, its length is learned."""
        job = self._jobs.pop(handle)
        tokens = job.output_tokens(tick)
        if job.running:
            self._occupancy.census.stops(job.cell.place)
            del self._running[handle]
        else:
            self._occupancy.wait_no_more(job)
        self._crossings.discard(handle)
        self._occupancy.leave(job)
        # A job that ends at an edge ends in the bin before it.
        self._passes(job, bin_of(max(tokens - 1, 0)))
        if finished and self.forecast.ended(job.life, job.age_bin, tokens):
            self._learn(tick)
        self._reorder(tick)

    def advance(self, tick: Tick) -> Sequence[LevelChanged]:
        """Whoever left a bin, or used up a quantum while nothing is learned, goes where it belongs
        now.
        """
        crossings = self._crossings
        if crossings.next_ns is None or crossings.next_ns > tick.decode_ns:
            return ()
        changes: list[LevelChanged] = []
        version = self.version
        for handle in crossings.pop_due(tick.decode_ns):
            job = self._jobs[handle]
            old = job.cell.level
            if not self._learned:
                job.level = job.descend(self.ladder, self._cost, tick)
            self._move(job, tick)
            self._watch(job, tick)
            if job.cell.level != old:
                changes.append(LevelChanged(handle, old, job.cell.level, LevelCause.QUANTUM))
        if self.version != version:
            self._reorder(tick)
        return changes

    # questions
    # ------------------------------------------------------------------------------------------------
    def order(self, tick: Tick) -> Iterator[tuple[Key, Handle]]:
        """Runners and the heads of all cells, merged by boosted arrival."""
        boosts: dict[int, int] = {}  # of the cells of runners, which are fewer than they
        boost_ns, outstanding = self._occupancy.cells.boost_ns, self._outstanding
        runners: list[tuple[Key, Handle]] = []
        for handle, job in self._running.items():
            cell = job.cell
            boost = boosts.get(cell.place)
            if boost is None:
                boost = boosts[cell.place] = boost_ns(cell, outstanding)
            runners.append(((self._runs_at_ns(job, boost, tick), handle), handle))
        runners.sort()
        return merge(runners, *self._occupancy.lines())

    def key(self, handle: Handle, tick: Tick) -> Key:
        """(boosted arrival, handle)."""
        job = self._jobs[handle]
        boost_ns = self._occupancy.cells.boost_ns(job.cell, self._outstanding)
        return (self._runs_at_ns(job, boost_ns, tick) if job.running else job.attributes.arrival_ns - boost_ns, handle)

    def level(self, handle: Handle) -> Level:
        """The level of the job's cell."""
        return self._jobs[handle].cell.level

    def next_crossing_ns(self) -> int | None:
        """When the first running job is expected to leave its bin."""
        return self._crossings.next_ns

    def depths(self, tick: Tick) -> Sequence[tuple[Level, int, int, int]]:
        """Summed over the cells of each level."""
        return self._occupancy.depths(tick.now_ns)

    def audit(self, tick: Tick, hold: Callable[[bool, str], None]) -> None:
        """Call `hold` with every rule that these books keep: for `invariants.check`."""
        occupancy, work_ns = self._occupancy, 0
        for handle, job in self._jobs.items():
            cell = job.cell
            work_ns += cell.expected_ns
            hold(occupancy.cells.used.get(cell.kind) is cell, f"the cell of job {handle} is in use")
            hold(cell.kind == self._kind(job), f"job {handle} stands in the cell of its kind")
            hold(job.running == (handle in self._running), f"job {handle} is a runner or is not")
            waits = (job.attributes.arrival_ns, handle) in cell.waiting
            hold(waits != job.running, f"job {handle} waits in its cell or runs")
            hold(
                occupancy.census.levels_waiting(handle) == ([] if job.running else [cell.place]),
                f"job {handle} is counted where it stands",
            )
            crossing = self._crossings.get(handle)
            if self._learned:
                watched = job.decoding and job.age_bin < BINS - 1
                hold((crossing is not None) == watched, f"job {handle} is watched while it ages")
        hold(work_ns == self._outstanding.work_ns, "the outstanding work is the demand of the open jobs")
        hold(sum(cell.open for cell in occupancy.cells.used.values()) == len(self._jobs), "cells count their jobs")
        hold(len(self._crossings) <= len(self._jobs), "the calendar holds open jobs")

    # inside
    # ---------------------------------------------------------------------------------------------------
    def _runs_at_ns(self, job: AdaptiveJob, boost_ns: int, tick: Tick) -> int:
        """The rank of a job that runs, whose cell has this head start."""
        attributes = job.attributes
        kept_ns = MOVES_SPARED * self._cost.move_ns(attributes.prompt_tokens + job.output_tokens(tick))
        return attributes.arrival_ns - boost_ns - self._outstanding.runner_ns - kept_ns

    @property
    def _learned(self) -> bool:
        return self.forecast.rebuilds > 0

    def _kind(self, job: AdaptiveJob) -> Kind:
        if not self._learned:
            return Kind(COLD, 0, job.level)
        left = job.prefill_left_tokens
        quarters = min(-(-left * SHARES // job.attributes.prompt_tokens), SHARES) if left else 0
        return Kind(job.prompt_class, quarters, job.age_bin, job.life.score)

    def _passes(self, job: AdaptiveJob, age_bin: int) -> None:
        """The job reached this bin, and left those before it alive."""
        if age_bin > job.age_bin:
            self.forecast.passed(job.life, job.age_bin, age_bin)
            job.age_bin = age_bin

    def _move(self, job: AdaptiveJob, tick: Tick) -> None:
        """Into the cell that the job belongs to now."""
        self._passes(job, bin_of(job.output_tokens(tick)))
        kind = self._kind(job)
        if kind != job.cell.kind and self._occupancy.move(job, kind):
            self.version += 1  # who ranks better in silence runs anyway

    def _watch(self, job: AdaptiveJob, tick: Tick) -> None:
        """Enter when the job leaves its bin, by the pace of its own iterations; while nothing is
        learned, when it uses up its quantum.
        """
        handle = job.attributes.handle
        left_ns = None
        if not self._learned:
            if job.emitted:
                left_ns = max(self.ladder.quantum_ns(job.level) - job.charged_ns(tick), 0)
        elif job.decoding and job.age_bin < BINS - 1:
            tokens = job.output_tokens(tick)
            step_ns = job.step_ns(tick) or self._cost.decode_ns(1, job.attributes.prompt_tokens + tokens)
            left_ns = (EDGES[job.age_bin + 1] - tokens) * step_ns
        if left_ns is None or (left_ns and not job.decoding):
            self._crossings.discard(handle)
        else:
            self._crossings.set(handle, tick.decode_ns + left_ns)

    def _learn(self, tick: Tick) -> None:
        """Hazards are made anew; the first time, everybody leaves the ladder of quanta for the
        cells.
        """
        first = not self._learned
        self.forecast.rebuild()
        self._table.clear()
        if first:
            for job in self._jobs.values():
                self._move(job, tick)
                self._watch(job, tick)
        else:
            self._outstanding.work_ns = self._occupancy.cells.reprice()

    def _reorder(self, tick: Tick) -> None:
        """The order changes: head starts may follow the outstanding work."""
        self._outstanding.settle(tick.now_ns)
        self.version += 1


def _spare_tokens(demand: Demand) -> int:
    if demand.room_tokens is None:
        return SPARE_TOKENS
    return min(SPARE_TOKENS, max(demand.room_tokens // (demand.max_batch * SPARE_SHARE), 1))
