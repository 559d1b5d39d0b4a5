"""How long a turn's own work takes: steps 3-5 and 7, without an executor, in units of a yardstick.

Owns the situations (nothing changes, a quarter of the batch changes, an arrival every turn, a long
queue), each of which drives a real engine over a simulated executor, and `Timing`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from ....core.asked import Asked
from ....core.clock import ManualClock, thread_cpu_ns
from ....core.effects import TurnEffects
from ....core.errors import InvariantViolation
from ....core.events import Event, Submitted
from ....core.executor import ExecutorFacts
from ....core.ids import Handle
from ....core.sampling import SamplingParams
from ....cost.linear import LinearCostModel
from ....engine.assemble import assemble
from ....engine.params import EngineParams
from ....engine.turn import Turn
from ....scheduler.params import LadderParams
from ....sim.executor import SimExecutor
from ...figures import held
from ...table import DASH, Columns
from ...yardstick import Yardstick

COLUMNS = Columns(
    (("", -28), ("median ms", 10), ("P95 ms", 10), ("turns", 7), ("units", 9), ("target", 8), ("", 0)),
)


@dataclass(frozen=True, slots=True)
class Timing:
    """CPU time in ms: median, 95th percentile (nearest rank), and how many were timed.

    `unit_ms`: what the yardstick took beside them. `target`: a number of such units.
    """

    name: str
    median_ms: float
    p95_ms: float
    turns: int
    unit_ms: float
    target: float | None = None

    @property
    def units(self) -> float:
        """The median in units."""
        return self.median_ms / self.unit_ms

    @property
    def holds(self) -> bool | None:
        """Whether the median is within the target; None where there is none."""
        return held(self.units, self.target, at_most=True)

    def __str__(self) -> str:
        times = f"{self.median_ms:.4f}", f"{self.p95_ms:.4f}", str(self.turns), f"{self.units:.4f}"
        target = DASH if self.target is None else f"<= {self.target:g}"
        return COLUMNS.line(self.name, *times, target, "" if self.holds is None else "ok" if self.holds else "ABOVE")


def timing_of(name: str, samples_ns: Sequence[int], unit_ms: float, target: float | None = None) -> Timing:
    """What the samples say; of an even number the upper median."""
    ordered = sorted(samples_ns)
    count = len(ordered)
    return Timing(name, ordered[count // 2] / 1e6, ordered[-(-count * 95 // 100) - 1] / 1e6, count, unit_ms, target)


def all_hold(timings: Sequence[Timing]) -> bool:
    """Whether every bar does."""
    return all(timing.holds is not False for timing in timings)


COST = LinearCostModel(
    fixed_ns=15e6,
    prefill_token_ns=1e4,
    prefill_pair_ns=1.0,
    decode_context_ns=100.0,
    decode_job_ns=3e4,
    move_token_ns=1e3,
)
PAGE_TOKENS = 16
END_TOKEN = 1  # the simulated executor emits token 0 only, so every job looks for its end and none finds it
LONG_TOKENS = 100_000
FACTS = ExecutorFacts(
    generation=1,
    device_pages=1 << 17,
    host_pages=1 << 17,
    page_tokens=PAGE_TOKENS,
    page_bytes=PAGE_TOKENS << 10,
    max_context_tokens=None,
    vocab_size=256,
)
TARGETS = {"unchanged": 0.1, "quarter": 1.5, "arrival": 2.0}
YARDSTICK_EVERY = 32
"""Turns; the caches are not what they were behind it."""
TARGET_RATIO = 1.2
STOP_STRING = "\n\n\n"


class Bench:
    """One engine under measurement: submits jobs, steps, times `decide` and `settle`."""

    def __init__(self, batch: int, *, params: EngineParams | None = None, policy: str = "skipjoin") -> None:
        self._clock = ManualClock(0)
        params = replace(params or EngineParams(), max_batch=batch)
        token_bytes = [bytes([token]) for token in range(256)]
        state = assemble(policy, COST, FACTS, params, end_tokens=frozenset({END_TOKEN}), token_bytes=token_bytes)
        self._executor = SimExecutor(COST, FACTS, self._clock)
        self._turn = Turn(state, self._executor, self._clock)
        self._next = 0
        self.batch = batch
        self.samples_ns: list[int] = []
        self._yardstick = Yardstick()

    def jobs(self, count: int, *, prompt_tokens: int, new_tokens: int, stop: tuple[str, ...] = ()) -> list[Event]:
        """`count` arrivals now."""
        asked = Asked(SamplingParams(temperature=0.0, seed=0, max_new_tokens=new_tokens, stop=stop))
        first, self._next = self._next, self._next + count
        now_ns = self._clock.now_ns()
        return [Submitted(Handle(number), prompt_tokens, asked, now_ns) for number in range(first, self._next)]

    def step(self, events: list[Event], *, timed: bool = False) -> TurnEffects:
        """One turn; with `timed` its steps 3-5 and 7 are one more sample."""
        begun = thread_cpu_ns()
        plan = self._turn.decide(events)
        spent = thread_cpu_ns() - begun
        outcome = None
        if plan is not None:
            self._executor.submit(plan)
            outcome = self._executor.poll(None)
        begun = thread_cpu_ns()
        effects = self._turn.settle(outcome)
        spent += thread_cpu_ns() - begun
        if timed:
            if len(self.samples_ns) % YARDSTICK_EVERY == 0:
                self._yardstick.measure()
            self.samples_ns.append(spent)
        return effects

    def fill(self, events: list[Event]) -> None:
        """Step until a whole batch decodes. Raises InvariantViolation when it never does."""
        effects = self.step(events)
        for _ in range(10_000):
            if effects.stats.decode_jobs == self.batch and effects.stats.prefill_tokens == 0:
                return
            effects = self.step([])
        raise InvariantViolation("The batch never filled.")

    def timing(self, name: str) -> Timing:
        """What the samples say."""
        return timing_of(name, self.samples_ns, self._yardstick.unit_ms, TARGETS.get(name))


def unchanged(batch: int, live: int, turns: int, *, stop: tuple[str, ...] = ()) -> Timing:
    """The same decode batch again: stop checks of all members and the pages they grow into.

    A first quantum that no job uses up, and no promotions: a turn in which nothing changes.
    """
    params = EngineParams(starvation="off", ladder=LadderParams(base_quantum_ns=10**15))
    bench = Bench(batch, params=params)
    bench.fill(bench.jobs(live, prompt_tokens=512, new_tokens=LONG_TOKENS, stop=stop))
    for number in range(turns + 64):
        effects = bench.step([], timed=number >= 64)
        if effects.effects or effects.tokens is None or len(effects.tokens.tokens) != batch:
            raise InvariantViolation("A turn in which nothing should change changed something.")
    return bench.timing("unchanged, stop strings" if stop else "unchanged")


def quarter(batch: int, live: int, turns: int) -> Timing:
    """A quarter of the batch ends in every turn, as many enter; other turns fill the queue."""
    # Room for the prompts of a quarter of the batch in each turn, so that four cohorts follow each
    # other.
    share = batch // 4
    bench = Bench(batch, params=EngineParams(max_prefill_tokens=share * PAGE_TOKENS))

    def more(count: int) -> list[Event]:
        return bench.jobs(count, prompt_tokens=PAGE_TOKENS, new_tokens=4)

    waiting = live
    bench.step(more(live))
    for number in range(turns):
        if waiting < live:
            bench.step(more(8 * share))
            waiting += 8 * share
        effects = bench.step([], timed=number >= turns // 10)
        waiting -= sum(1 for _ in effects.effects) // 2  # a start and an end each
        if number >= turns // 10 and effects.stats.prefill_tokens != share * PAGE_TOKENS:
            raise InvariantViolation(
                f"{effects.stats.prefill_tokens // PAGE_TOKENS} jobs entered in a turn, not a quarter of the batch."
            )
    return bench.timing("quarter")


def arrivals(batch: int, live: int, params: EngineParams | None = None) -> Callable[[bool], Bench]:
    """A full batch of long jobs, and a short one arriving whenever what is returned is called."""
    bench = Bench(batch, params=params)
    bench.fill(bench.jobs(live, prompt_tokens=512, new_tokens=LONG_TOKENS))

    def once(timed: bool) -> Bench:
        bench.step(bench.jobs(1, prompt_tokens=PAGE_TOKENS, new_tokens=2), timed=timed)
        return bench

    return once


def queues(batch: int, short: int, long: int, turns: int) -> tuple[Timing, Timing]:
    """The same change per turn before a short and a long queue: a short job comes, takes a long
    job's place, ends.

    Long jobs join the second of two levels, whose quantum no job uses up: otherwise a longer queue
    would also mean that more jobs take turns, and the change would not be equal. Both engines step
    in turn, so that a slow minute of the machine slows both.
    """
    quantum_ns = COST.prompt_ns(512) - 1
    params = EngineParams(starvation="off", ladder=LadderParams(base_quantum_ns=quantum_ns, ratio=1000.0))
    both = [arrivals(batch, batch + queued, params) for queued in (short, long)]
    for number in range(turns):
        for once in both:
            once(number >= turns // 10)
    first, second = (once(False).timing("") for once in both)
    return replace(first, name=f"arrival, {short:,} queued"), replace(second, name=f"arrival, {long:,} queued")


def measure_turns(batch: int, live: int, queued: tuple[int, int], turns: int) -> Iterator[Timing]:
    """Every situation as soon as it is done, the two queues last; each is timed for about `turns`
    turns.
    """
    yield unchanged(batch, live, turns)
    yield unchanged(batch, live, turns, stop=(STOP_STRING,))
    yield quarter(batch, live, turns)
    once = arrivals(batch, live)
    for number in range(turns):
        once(number >= turns // 10)
    yield once(False).timing("arrival")
    yield from queues(batch, *queued, turns)


def queue_ratio(timings: Sequence[Timing]) -> float:
    """The time with the long queue over that with the short one, at equal change."""
    return timings[-1].units / timings[-2].units
