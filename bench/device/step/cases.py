"""The cases of a scenario, measured one after the other on one model.

* decode steps and prefills against their rooflines;
* the same decode steps with and without KV moves beside them (rows of steps that take turns:
  without, out, in, both ways), by how much moves slow them, and what moves reach of a copy;
* the engine's own loop, for how long the device has nothing to do in it: the gaps between one
  iteration's end and the next one's begin. How many plans the engine keeps in flight does not
  matter, for marks lie in the order of the device's work.

Owns the order of work, which targets apply here, and what becomes of a case that cannot be
measured.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count, pairwise

import numpy as np

from ....core.asked import Asked
from ....core.errors import InvariantViolation
from ....core.events import Submitted
from ....core.ids import Handle
from ....core.plan import Direction, IterationPlan
from ....core.sampling import SamplingParams
from ....cost.online import CorrectedCostModel, OnlineCorrection
from ....engine.assemble import assemble
from ....engine.params import EngineParams
from ....engine.turn import Turn
from ....model.weights.loaded import LoadedModel
from ...figures import Spread
from ..race import COPY, GEMM, SpeedRow, Work, roofline_ns, speed_rows
from ..turn.turns import COST
from .deck import Deck, PagesAndSlots, Steps, Traffic, decode_steps
from .row import (
    COPY_SHARE,
    IDLE,
    MEMORY_COPY,
    PINNED_COPY,
    RATE,
    ROOFLINE,
    SLOWER,
    TIME,
    Absent,
    Row,
    milliseconds,
    tokens_a_second,
)
from .scenario import Case, Decode, Idle, Moves, Prefill, StepScenario
from .stage import Iteration, Stage, pages_of_job
from .work import decode_work, mean_work, prefill_work

MEMORY, PRODUCTS = "memory", "products"

Told = Callable[[], None]


def measure_decode(stage: Stage, case: Decode, rounds: int, told: Told) -> list[Row]:
    """A step, from plan to tokens, and the forward pass in it."""
    deck = Deck(stage, case.batch, case.context, case.most_tokens)
    work = work_of_steps(stage.model, case)
    steps, roofs = [], []
    for _ in range(rounds):
        steps.append(decode_steps(stage, deck, case.steps))
        roofs.append(stage.speeds())
        told()
    deck.end()
    least = [roofline_ns(work, speeds) for speeds in roofs]

    def row(what: str, times: Sequence[float], target: float | None, tokens: float | None) -> Row:
        shares = Spread.of([ns / taken for ns, taken in zip(least, times, strict=True)])
        value = milliseconds(times)
        return Row(case.name, case.kind, what, TIME, value, ROOFLINE, shares, bound_of(work, roofs[0]), tokens, target)

    whole = [one.step_ns for one in steps]
    return [
        row("whole step", whole, case.least, tokens_a_second(case.batch, milliseconds(whole))),
        row("its forward pass", [one.forward_ns for one in steps], None, None),
    ]


def measure_prefill(stage: Stage, case: Prefill, rounds: int, told: Told) -> list[Row]:
    """A prompt, from its first plan to its token."""
    deck = Deck(stage, 1, case.tokens, case.tokens)
    chunks = chunks_of(case)
    work = prefill_work(stage.model, chunks)
    taken, roofs = [], []
    for number in range(rounds + 1):
        stage.times.wait()
        begun_ns = stage.clock.now_ns()
        for start, length in chunks:
            stage.executor.submit(deck.prefill(start, length))
            outcome = stage.executor.poll(None)
        deck.check(outcome)
        if number:  # the first one sets up what the shape needs
            taken.append(float(stage.clock.now_ns() - begun_ns))
            roofs.append(stage.speeds())
            told()
    deck.end()
    shares = Spread.of([roofline_ns(work, speeds) / ns for speeds, ns in zip(roofs, taken, strict=True)])
    value = milliseconds(taken)
    rate = tokens_a_second(case.tokens, value)
    bound = bound_of(work, roofs[0])
    return [Row(case.name, case.kind, "whole prompt", TIME, value, ROOFLINE, shares, bound, rate, case.least)]


def chunks_of(case: Prefill) -> list[tuple[int, int]]:
    """(start, length), in order."""
    return [(start, min(case.chunk, case.tokens - start)) for start in range(0, case.tokens, case.chunk)]


def work_of_steps(model: LoadedModel, case: Decode) -> Work:
    """Of one step, over all that are timed: contexts grow by a token a step, and the first step is
    not timed.
    """
    return mean_work([decode_work(model, [case.context + 1 + step] * case.batch) for step in range(case.steps)])


def bound_of(work: Work, speeds: dict[str, float]) -> str:
    """What takes the longest at such speeds."""
    return MEMORY if work.bytes / speeds[COPY] >= work.flops / speeds[GEMM] else PRODUCTS


ALONE, BOTH, WAITING = "no moves", "moves both ways", "moves as the engine has it"
LANES: dict[str, tuple[Direction, ...]] = {
    ALONE: (),
    "moves out": (Direction.OUT,),
    "moves in": (Direction.IN,),
    BOTH: (Direction.OUT, Direction.IN),
    WAITING: (Direction.OUT, Direction.IN),
}
"""The last only where a second plan is launched early: the engine launches none early that starts
moves, so such a step waits for the host."""

SUFFIXES = {BOTH: ", both ways at once", WAITING: ", as the engine has it"}
Lane = tuple[str, Direction]
_DRY = 0.1
"""Of the steps: beyond that the rate is as much the case's as the mover's."""


def measure_moves(stage: Stage, case: Moves, rounds: int, told: Told) -> list[Row]:
    """A line for each lane's step, and one for the rate of each direction by itself and of both at
    once.
    """
    deck = Deck(stage, case.batch, case.context, case.most_tokens)
    places = places_of(stage, case)
    lanes = lanes_of(ahead=stage.ahead)
    taken: dict[str, list[float]] = {name: [] for name in lanes}
    rates: dict[Lane, list[float]] = {
        (name, direction): [] for name, directions in lanes.items() for direction in directions
    }
    dry = dict.fromkeys(rates, 0)
    roofs: list[dict[str, float]] = []
    for _ in range(rounds):
        for name, directions in lanes.items():
            traffic = Traffic(places, directions, stage.clock)
            steps = decode_steps(stage, deck, case.steps, traffic, alone=name == WAITING)
            drain(stage, deck, traffic)
            taken[name].append(steps.step_ns)
            for direction in directions:
                rates[name, direction].append(rate_of(stage, traffic, direction, steps))
                dry[name, direction] += traffic.dry[direction]
            told()
        roofs.append(stage.speeds())
    deck.end()
    return [*_step_rows(case, taken), *_rate_rows(case, rates, roofs, dry)]


def lanes_of(*, ahead: bool) -> dict[str, tuple[Direction, ...]]:
    """The rows of steps that take turns."""
    return {name: directions for name, directions in LANES.items() if ahead or name != WAITING}


def places_of(stage: Stage, case: Moves) -> dict[Direction, list[PagesAndSlots]]:
    """As many places each way as moves may be in flight; pages behind the jobs', no slot twice."""
    each = case.in_flight * case.pages
    first = case.batch * pages_of_job(case.most_tokens)
    pages, slots = stage.scattered(first, 2 * each), stage.scattered(0, 2 * each)
    places: dict[Direction, list[PagesAndSlots]] = {}
    for at, direction in enumerate(Direction):
        starts = range(at * each, (at + 1) * each, case.pages)
        places[direction] = [(pages[start : start + case.pages], slots[start : start + case.pages]) for start in starts]
    return places


def drain(stage: Stage, deck: Deck, traffic: Traffic) -> None:
    """Until nothing is in flight."""
    while traffic.in_flight:
        stage.executor.submit(deck.nothing())
        outcome = stage.executor.poll(None)
        assert outcome is not None, "a plan that was taken is answered"
        traffic.heard(outcome)


def rate_of(stage: Stage, traffic: Traffic, direction: Direction, steps: Steps) -> float:
    """Bytes a nanosecond, from the first move's start until the last one has landed."""
    taken_ns = traffic.last_landed_ns[direction] - steps.begun_ns
    return traffic.landed_pages[direction] * stage.facts.page_bytes / max(taken_ns, 1)


def _step_rows(case: Moves, taken: dict[str, list[float]]) -> list[Row]:
    rows = []
    for name, times in taken.items():
        value = milliseconds(times)
        row = Row(case.name, case.kind, f"step, {name}", TIME, value, tokens_per_s=tokens_a_second(case.batch, value))
        if name != ALONE:
            slower = Spread.of([ns / alone - 1 for ns, alone in zip(times, taken[ALONE], strict=True)])
            target = case.most_slower if name == BOTH else None
            row = replace(row, of=SLOWER, share=slower, target=target)
        rows.append(row)
    return rows


def _rate_rows(
    case: Moves, rates: dict[Lane, list[float]], roofs: Sequence[dict[str, float]], dry: dict[Lane, int]
) -> list[Row]:
    """Where there is no link the copy is one in memory, whose bandwidth counts a byte twice: read
    and written.
    """
    rows = []
    for (name, direction), measured in rates.items():
        link = direction.value
        pinned = link in roofs[0]
        limits = [speeds[link] if pinned else speeds[COPY] / 2 for speeds in roofs]
        shares = Spread.of([rate / limit for rate, limit in zip(measured, limits, strict=True)])
        what = f"moves {direction.value}{SUFFIXES.get(name, '')}"
        target = None if name in SUFFIXES else case.least_rate
        bound = PINNED_COPY if pinned else MEMORY_COPY
        asked = len(measured) * (case.steps - 1)
        note = ""
        if dry[name, direction] > asked * _DRY:
            note = f"in {dry[name, direction]} of {asked} steps all moves had landed before more were started"
        value = Spread.of(measured)
        rows.append(Row(case.name, case.kind, what, RATE, value, COPY_SHARE, shares, bound, None, target, note))
    return rows


POLICY = "adaptive"
_MOST_TURNS = 100
"""For each iteration that counts: then something is wrong."""

_SEQUENCE = count()


@dataclass(frozen=True, slots=True)
class Loop:
    """Of the iterations that count: nanoseconds from one end to the next, and the share of time
    without work.
    """

    iteration_ns: float
    idle: float


def measure_idle(stage: Stage, case: Idle, rounds: int, told: Told) -> list[Row]:
    """The loop as a server runs it; where that runs ahead, the loop that does not beside it."""
    lanes = (True, False) if stage.ahead else (False,)
    loops: dict[bool, list[Loop]] = {ahead: [] for ahead in lanes}
    for _ in range(rounds):
        for ahead in lanes:
            loops[ahead].append(loop_of(engine_iterations(stage, case, ahead=ahead)))
            told()
    rows = []
    for ahead in lanes:
        value = milliseconds([one.iteration_ns for one in loops[ahead]])
        idle = Spread.of([one.idle for one in loops[ahead]])
        what = "iteration, run ahead" if ahead else "iteration, one plan at a time"
        target = case.most if ahead is stage.ahead else None
        rate = tokens_a_second(case.batch, value)
        rows.append(Row(case.name, case.kind, what, TIME, value, IDLE, idle, None, rate, target))
    return rows


def engine_iterations(stage: Stage, case: Idle, *, ahead: bool) -> list[Iteration]:
    """The iterations of a new engine that decoded all jobs and nothing else, without the first
    `warm` of them.
    """
    executor, wanted = stage.executor, case.iterations
    params = EngineParams(max_batch=case.batch, run_ahead=ahead)
    cost = CorrectedCostModel(COST, OnlineCorrection())
    state = assemble(POLICY, cost, stage.facts, params, end_tokens=frozenset())
    turn = Turn(state, executor, stage.clock)
    jobs = _jobs(stage, case)
    executor.iterations.clear()
    turn.step(jobs)
    seen = steady = 0
    for _ in range(_MOST_TURNS * wanted):
        # As little as can be: on the loop that waits for each outcome the device idles meanwhile.
        while seen < len(executor.iterations):
            steady = steady + 1 if _steady(case, executor.iterations[seen]) else 0
            seen += 1
        if steady >= wanted:
            break
        turn.step()
    else:
        raise InvariantViolation("The engine never decoded all jobs for long enough.")
    while executor.poll(None) is not None:
        pass  # what is still in flight
    stage.times.wait()
    dropped = tuple(job.handle for job in jobs)
    executor.submit(IterationPlan(next(_SEQUENCE), stage.facts.generation, dropped=dropped))
    executor.poll(None)
    return executor.iterations[seen - wanted : seen][case.warm :]


def loop_of(iterations: Sequence[Iteration]) -> Loop:
    """From the end of the first iteration to that of the last; what lies in front of an iteration
    belongs to it.
    """
    whole = iterations[0].ended.ns_until(iterations[-1].ended)
    gaps = sum(max(0.0, before.ended.ns_until(after.begun)) for before, after in pairwise(iterations))
    return Loop(whole / (len(iterations) - 1), gaps / whole)


def _steady(case: Idle, iteration: Iteration) -> bool:
    return iteration.decodes == case.batch and not iteration.prefills


def _jobs(stage: Stage, case: Idle) -> tuple[Submitted, ...]:
    """All different; none ends while it is measured."""
    draw, now_ns = np.random.default_rng(0), stage.clock.now_ns()
    output = case.most_tokens - case.prompt
    jobs = []
    for number in range(case.batch):
        prompt = draw.integers(0, stage.facts.vocab_size, case.prompt).astype(np.int32)
        sampling = SamplingParams(temperature=0.0, seed=number, max_new_tokens=output, ignore_eos=True)
        jobs.append(Submitted(Handle(next(stage.numbers)), case.prompt, Asked(sampling), now_ns, prompt=prompt))
    return tuple(jobs)


def study(scenario: StepScenario, stage: Stage, rounds: int, told: Told) -> Iterator[Row | Absent | SpeedRow]:
    """The rows of each case as soon as it is done, the speeds last. `told` hears of every sample."""
    applies = stage.model.device.type in scenario.bars_for
    for case in scenario.cases:
        try:
            rows = measured(stage, case, rounds, told)
        except MemoryError as full:
            # Of the device's memory: other cases may still fit. What was launched is not theirs.
            while stage.executor.poll(None) is not None:
                pass
            yield Absent(case.name, case.kind, str(full))
            continue
        yield from (row if applies else replace(row, target=None) for row in rows)
    yield from speed_rows(stage.seen)


def measured(stage: Stage, case: Case, rounds: int, told: Told) -> list[Row]:
    """The rows of one case."""
    match case:
        case Decode():
            return measure_decode(stage, case, rounds, told)
        case Prefill():
            return measure_prefill(stage, case, rounds, told)
        case Moves():
            return measure_moves(stage, case, rounds, told)
        case Idle():
            return measure_idle(stage, case, rounds, told)


def samples(scenario: StepScenario, rounds: int, *, ahead: bool) -> int:
    """How often `told` is called."""
    lanes = {Moves: len(lanes_of(ahead=ahead)), Idle: 2 if ahead else 1}
    return rounds * sum(lanes.get(type(case), 1) for case in scenario.cases)
