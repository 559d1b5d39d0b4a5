"""The same decode steps with and without KV moves beside them.

Owns the rows of steps that take turns (without, out, in, both ways), by how much moves slow them,
and what the moves reach of a copy's bandwidth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ....core.plan import Direction
from ...figures import Spread
from ..roofline import COPY
from .deck import Deck, Steps, decode_steps
from .decode import Told
from .row import COPY_SHARE, MEMORY_COPY, PINNED_COPY, RATE, SLOWER, TIME, Row, milliseconds, tokens_a_second
from .scenario import Moves
from .stage import Stage, pages_of_job
from .traffic import PagesAndSlots, Traffic

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
