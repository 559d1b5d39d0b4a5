"""The multi-level feedback queue, with FastServe's skip-join or without.

Owns levels, charges against quanta, demotions and promotion offers. It knows neither pages nor
batch limits: engine/state tells it what happened, the planner reads its order and grants its offers
(paper section 4.1; where the paper is open, docs/algorithm.md).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from ..core.cost_model import CostModel
from ..core.effects import LevelCause, LevelChanged
from ..core.ids import Handle, Level
from ..core.policy import PLAIN_ADMISSION, JobAttributes, Key, Tick
from .account import JobEntry
from .calendar import Calendar
from .census import Census
from .ladder import Ladder
from .params import LadderParams, Starvation
from .queues import LevelQueues
from .starvation import StarvationWatch

TOP = Level(1)


class MlfqJob(JobEntry):
    """A job on the ladder. `level` is where it stands; `spent_before_ns` is the attained service
    that does not count against that quantum.
    """

    __slots__ = ("level", "spent_before_ns")

    def __init__(self, attributes: JobAttributes, level: Level, tick: Tick) -> None:
        super().__init__(attributes, tick)
        self.level = level
        self.spent_before_ns = 0

    def charged_ns(self, tick: Tick) -> int:
        """Service that counts against the quantum of the job's level."""
        charged_ns, since = self._base_ns - self.spent_before_ns, self._since
        return charged_ns if since is None else charged_ns + tick.decode_ns - since.decode_ns

    def crossing_ns(self, quantum_ns: int, tick: Tick) -> int | None:
        """Time of the decode clock at which a quantum of this length is used up, now when it is;
        None when it is not and that clock does not charge the job.
        """
        left_ns, since = quantum_ns - self._base_ns + self.spent_before_ns, self._since
        if since is None:
            return tick.decode_ns if left_ns <= 0 else None
        due_ns = since.decode_ns + left_ns
        return due_ns if due_ns > tick.decode_ns else tick.decode_ns

    def descend(self, ladder: Ladder, cost: CostModel, tick: Tick) -> Level:
        """Where the job lands, which used up its quantum; service beyond the quantum counts there,
        what is within it does not any more.

        The caller writes `level`, once the job is out of the queue of the old one.
        """
        level, since, service_ns, tokens = self.level, self._since, self._base_ns, self._base_tokens
        ran_ns = steps = 0
        if since is not None:
            ran_ns, steps = tick.decode_ns - since.decode_ns, tick.steps - since.steps
            service_ns += ran_ns
            tokens += steps
        quantum_ns = ladder.quantum_ns(level)
        carried_ns = service_ns - self.spent_before_ns - quantum_ns
        self.spent_before_ns += quantum_ns
        next_ns = ran_ns // steps if steps > 0 else cost.decode_ns(1, self.attributes.prompt_tokens + tokens)
        return ladder.level_after(level, carried_ns, next_ns)


class MlfqPolicy:
    """`skipjoin` (`skip_join=True`): a job joins the highest level whose quantum covers its first
    iteration. `mlfq`: it joins level 1.

    A job is demoted to the tail when it is charged its quantum, service beyond it carried, and
    never before its first token. A preempted, not demoted job keeps its place. Quanta are fixed at
    construction.
    """

    lower_may_pass = True
    preempts = True
    swaps = True
    moves_are_free = False
    admission = PLAIN_ADMISSION

    def __init__(
        self,
        name: str,
        cost: CostModel,
        params: LadderParams | None = None,
        starvation: Starvation = "granted",
        *,
        skip_join: bool = True,
    ) -> None:
        self.name = name
        self.version = 0
        self._cost = cost
        self._skip_join = skip_join
        params = params or LadderParams()
        self.ladder = Ladder(params.base_quantum_ns or cost.decode_ns(1, 0), params.ratio)
        self._jobs: dict[Handle, MlfqJob] = {}
        self._queues = LevelQueues()
        self._census = Census()
        self._crossings = Calendar()  # decode clock: who uses up the quantum when
        self._starving = StarvationWatch(params, starvation)
        self._horizon: tuple[int, list[int]] = (-1, [])  # (version, service ahead of each level)

    # events ---------------------------------------------------------------------------------------
    def submitted(self, attributes: JobAttributes, tick: Tick) -> Level:
        """Join the ladder at the tail of the entry level."""
        level = self.ladder.entry_level(attributes.entry_ns) if self._skip_join else TOP
        job = MlfqJob(attributes, level, tick)
        self._jobs[attributes.handle] = job
        self._queues.place(attributes.handle, level)
        self._await(job, tick)
        self.version += 1
        return level

    def join(self, handle: Handle, tick: Tick) -> None:
        """The job runs: its wait, deadline and offer end."""
        job = self._jobs[handle]
        job.join()
        self._census.starts(handle, job.level)
        if job.level > TOP:
            self._starving.end(handle)

    def charge(self, handle: Handle, service_ns: int, computed_tokens: int, tick: Tick) -> None:
        """A chunk: counted at once, demotion is left to `advance`."""
        job = self._jobs[handle]
        job.charge(service_ns, computed_tokens)
        if job.emitted:
            self._watch(job, tick)

    def decoding(self, handle: Handle, tick: Tick) -> None:
        """From now on the decode clock charges."""
        job = self._jobs[handle]
        job.decode(tick)
        self._watch(job, tick)

    def leave(self, handle: Handle, tick: Tick) -> None:
        """The job waits, at the place it had."""
        job = self._jobs[handle]
        job.leave(tick)
        self._census.stops(job.level)
        if job.emitted:
            self._watch(job, tick)
        self._await(job, tick)

    def removed(self, handle: Handle, tick: Tick, *, finished: bool = True) -> None:
        """The job is gone."""
        job = self._jobs.pop(handle)
        if job.running:
            self._census.stops(job.level)
        else:
            self._forget_wait(job)
        self._crossings.discard(handle)
        self._queues.remove(handle)
        self._starving.settled(handle, tick.now_ns)
        self.version += 1

    def advance(self, tick: Tick) -> Sequence[LevelChanged]:
        """Demote who crossed, in the order they stood in; then promote (`paper`) or offer
        (`granted`) who is overdue.
        """
        changes: list[LevelChanged] = []
        crossings = self._crossings
        if crossings.next_ns is not None and crossings.next_ns <= tick.decode_ns:
            crossed = crossings.pop_due(tick.decode_ns)
            crossed.sort(key=self._queues.key)
            changes += self._demote(crossed, tick)
        starving = self._starving
        if starving.speak(tick.now_ns) and starving.offers:
            self.version += 1
        if starving.deadlines.next_ns is not None and starving.deadlines.next_ns <= tick.now_ns:
            overdue = starving.deadlines.pop_due(tick.now_ns)
            if starving.mode == "paper":
                changes.extend(self._promote(handle, tick) for handle in overdue)
            else:
                starving.offer(overdue)
                self.version += bool(starving.offers)  # held back by the ration, an offer changes nothing yet
        return changes

    def grant(self, handle: Handle, tick: Tick) -> LevelChanged | None:
        """Promote an offered job to the tail of level 1 with a fresh quantum."""
        if handle not in self._starving.offers:
            return None
        change = self._promote(handle, tick)
        self._starving.promoted(handle, tick.now_ns)
        return change

    # questions ------------------------------------------------------------------------------------
    def order(self, tick: Tick) -> Iterator[tuple[Key, Handle]]:
        """By (level, place)."""
        return self._queues.order()

    def key(self, handle: Handle, tick: Tick) -> Key:
        """(level, place, handle)."""
        return self._queues.key(handle)

    def level(self, handle: Handle) -> Level:
        """The level now."""
        return self._jobs[handle].level

    def next_change_ns(self) -> int | None:
        """The next starvation deadline not yet offered, or the end of a quiet time."""
        return self._starving.next_ns

    def next_crossing_ns(self) -> int | None:
        """When the first running job uses up its quantum."""
        return self._crossings.next_ns

    def offers(self) -> Sequence[Handle]:
        """Overdue jobs, longest overdue first."""
        return self._starving.offers

    def next_run_ns(self, handle: Handle, tick: Tick, max_batch: int) -> int | None:
        """ENST = min(T_promote, T_exec) of the paper's section 4.2, T_exec from per-level sums: all
        jobs of higher levels come down first.

        0 for a running job. T_promote counts only where a timer promotes (`paper`); an offer
        promises nothing.
        """
        job = self._jobs[handle]
        if job.running:
            return 0
        executing = self._service_ahead_ns(job.level) // max_batch
        deadline = self._starving.deadlines.get(handle) if self._starving.mode == "paper" else None
        return executing if deadline is None else min(executing, max(deadline - tick.now_ns, 0))

    def depths(self, tick: Tick) -> Sequence[tuple[Level, int, int, int]]:
        """Per level that was ever used."""
        census = self._census
        return [
            (Level(level), jobs, census.running(level), census.longest_wait_ns(level, tick.now_ns))
            for level, jobs in enumerate(self._queues.counts(), start=1)
        ]

    def audit(self, tick: Tick, hold: Callable[[bool, str], None]) -> None:
        """Call `hold` with every rule that the ladder's own books keep: for `invariants.check`."""
        queues, starving = self._queues, self._starving
        for handle, job in self._jobs.items():
            level = job.level
            hold(queues.key(handle)[0] == level, f"job {handle} stands on its level")
            charged_ns = job.charged_ns(tick)
            waits = self._census.levels_waiting(handle)
            hold(0 <= charged_ns <= job.service_ns(tick), f"job {handle} is charged part of its service")
            hold(waits == ([] if job.running else [level]), f"job {handle} waits on its level or runs")
            hold(not job.decoding or job.running, f"job {handle} decodes only in the batch")
            offered, deadline = starving.is_open(handle), handle in starving.deadlines
            may_starve = starving.mode != "off" and not job.running and level > TOP
            hold(offered + deadline == may_starve, f"job {handle} has a deadline or an offer when it may starve")
            used_up = job.emitted and charged_ns >= self.ladder.quantum_ns(level)
            crossing = self._crossings.get(handle)
            hold((crossing is not None) == (used_up or (job.emitted and job.decoding)), f"job {handle} is watched")
            due = crossing is not None and crossing <= tick.decode_ns
            hold(due == used_up, f"job {handle} is due for demotion exactly when its quantum is used up")
        hold(len(queues) == len(self._jobs), "every job stands in a queue")
        hold(len(self._crossings) + len(starving.deadlines) <= 2 * len(self._jobs), "calendars hold open jobs")

    # inside ---------------------------------------------------------------------------------------
    def _await(self, job: MlfqJob, tick: Tick) -> None:
        """A wait begins, or goes on on another level; on level 1 there is nothing to promote to."""
        handle = job.attributes.handle
        self._census.waits(handle, job.level, job.waiting_since_ns)
        if job.level > TOP:
            self._starving.begin(handle, job.waiting_since_ns, job.service_ns(tick))

    def _forget_wait(self, job: MlfqJob) -> None:
        self._census.waits_no_more(job.attributes.handle, job.level)
        self._starving.end(job.attributes.handle)

    def _watch(self, job: MlfqJob, tick: Tick) -> None:
        """Enter when a job that emitted uses up its quantum; one that did so already is due now,
        even if it just left the batch.
        """
        due_ns = job.crossing_ns(self.ladder.quantum_ns(job.level), tick)
        if due_ns is not None:
            self._crossings.set(job.attributes.handle, due_ns)
        else:
            self._crossings.discard(job.attributes.handle)

    def _demote(self, handles: Sequence[Handle], tick: Tick) -> list[LevelChanged]:
        """Only from `advance`, so no crossing of these jobs stands in the calendar."""
        jobs, ladder, cost, starving = self._jobs, self.ladder, self._cost, self._starving
        set_crossing, quantum, changes = self._crossings.set, LevelCause.QUANTUM, []
        for handle in handles:
            job = jobs[handle]
            old = job.level
            new = job.descend(ladder, cost, tick)
            self._relocate(job, new, tick)
            due_ns = job.crossing_ns(ladder.quantum_ns(new), tick)
            if due_ns is not None:
                set_crossing(handle, due_ns)
            starving.settled(handle, tick.now_ns)
            changes.append(LevelChanged(handle, old, new, quantum))
        return changes

    def _promote(self, handle: Handle, tick: Tick) -> LevelChanged:
        """Only waiting jobs come here, after the demotions of the same turn, so no crossing stands
        in the calendar.
        """
        job = self._jobs[handle]
        old = job.level
        job.spent_before_ns = job.service_ns(tick)
        self._relocate(job, TOP, tick)
        return LevelChanged(handle, old, TOP, LevelCause.STARVATION)

    def _relocate(self, job: MlfqJob, new: Level, tick: Tick) -> None:
        self._queues.place(job.attributes.handle, new)
        if job.running:
            self._census.runs_on(job.level, new)
            job.level = new
        else:
            self._forget_wait(job)
            job.level = new
            self._await(job, tick)
        self.version += 1

    def _service_ahead_ns(self, level: Level) -> int:
        """Sum over the jobs of higher levels of the quanta they pass through until they reach
        `level`.
        """
        version, ahead = self._horizon
        if version != self.version:
            ahead = [0]
            above = 0
            for index, jobs in enumerate(self._queues.counts()):
                above += jobs
                ahead.append(ahead[-1] + above * self.ladder.quantum_ns(index + 1))
            self._horizon = (self.version, ahead)
        return ahead[level - 1]
