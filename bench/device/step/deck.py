"""Jobs that decode together again and again, and KV that moves beside them.

Owns the plans written here: which jobs are admitted with which pages, the decode batch, which stays
one object so that the executor keeps what it can of it, rows of steps, launched as an engine's are,
and moves of pages that are no job's KV.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from itertools import count
from itertools import count as count_up

import numpy as np

from ....core.asked import Asked
from ....core.clock import Clock
from ....core.errors import InvariantViolation
from ....core.ids import Handle, MoveId
from ....core.outcome import IterationOutcome
from ....core.plan import (
    NO_DECODE,
    Admit,
    BlockTable,
    DecodeBatch,
    Direction,
    Int32s,
    IterationPlan,
    Move,
    PrefillChunk,
)
from ....core.sampling import SamplingParams
from .stage import Stage, pages_of_job

NO_JOB = Handle(-2)
_MOVE_IDS = count(1)

PagesAndSlots = tuple[Int32s, Int32s]


class Traffic:
    """`places[direction]`: the pages and host slots of one move each, taken from its start until it
    has landed.

    `dry`: how often, behind the first time, everything had landed before more was asked for, so
    that nothing was on its way for a while.
    """

    def __init__(
        self, places: dict[Direction, list[PagesAndSlots]], directions: Collection[Direction], clock: Clock
    ) -> None:
        self._free = {direction: list(places[direction]) for direction in directions}
        self._taken: dict[MoveId, tuple[Direction, PagesAndSlots]] = {}
        self._clock = clock
        self.landed_pages = dict.fromkeys(directions, 0)
        self.last_landed_ns = dict.fromkeys(directions, 0)
        self.dry = dict.fromkeys(directions, 0)
        self._asked = False

    @property
    def in_flight(self) -> int:
        """Moves that were started and have not landed."""
        return len(self._taken)

    def moves(self) -> tuple[Move, ...]:
        """One for every place that is free, the directions in turn."""
        if self._asked:
            for direction in self._free:
                self.dry[direction] += all(taken is not direction for taken, _ in self._taken.values())
        self._asked = True
        begun = []
        while any(self._free.values()):
            for direction, free in self._free.items():
                if free:
                    pages, slots = place = free.pop()
                    move = Move(MoveId(next(_MOVE_IDS)), direction, NO_JOB, pages, slots)
                    self._taken[move.move_id] = direction, place
                    begun.append(move)
        return tuple(begun)

    def heard(self, outcome: IterationOutcome) -> None:
        """What landed makes room."""
        now_ns = self._clock.now_ns()
        for move_id in outcome.landed:
            if move_id not in self._taken:
                continue  # of a case that was broken off
            direction, place = self._taken.pop(move_id)
            self._free[direction].append(place)
            self.landed_pages[direction] += len(place[0])
            self.last_landed_ns[direction] = now_ns


GREEDY = SamplingParams(temperature=0.0)
_SEQUENCE = count_up()


class Deck:
    """`tokens` of each of `batch` jobs are known at first, and there is room for `room` tokens.

    Pages lie scattered over the front of the pool.
    """

    def __init__(self, stage: Stage, batch: int, tokens: int, room: int) -> None:
        each = pages_of_job(room)
        self._stage = stage
        self._handles = [Handle(next(stage.numbers)) for _ in range(batch)]
        self._tables = stage.scattered(0, batch * each).reshape(batch, each)
        draw = np.random.default_rng(0)
        self._prompts = draw.integers(0, stage.facts.vocab_size, (batch, tokens)).astype(np.int32)
        self._batch = NO_DECODE

    def begin(self) -> IterationPlan:
        """All jobs anew, and their first step."""
        self._batch = DecodeBatch(np.array(self._handles, dtype=np.int64))
        return IterationPlan(*self._numbered(), decode=self._batch, admits=self._admits(), tables=self._block_tables())

    def again(self, moves: tuple[Move, ...] = ()) -> IterationPlan:
        """The next step of all."""
        return IterationPlan(*self._numbered(), decode=self._batch, moves=moves)

    def prefill(self, start: int, length: int) -> IterationPlan:
        """A part of the first job's prompt; the job begins anew with the first part."""
        first, prompt = start == 0, len(self._prompts[0])
        return IterationPlan(
            *self._numbered(),
            prefills=(PrefillChunk(self._handles[0], start, length, last=start + length == prompt),),
            admits=self._admits() if first else (),
            tables=self._block_tables() if first else (),
        )

    def nothing(self) -> IterationPlan:
        """A plan that computes nothing: its outcome comes as soon as a move has landed."""
        return IterationPlan(*self._numbered())

    def end(self) -> None:
        """The executor forgets the jobs."""
        self._stage.executor.submit(IterationPlan(*self._numbered(), dropped=tuple(self._handles)))
        self._stage.executor.poll(None)

    def check(self, outcome: IterationOutcome | None) -> IterationOutcome:
        """That every job got a token. Raises InvariantViolation: what was timed would not be what
        is said.
        """
        if outcome is None or len(outcome.handles) != len(self._handles):
            raise InvariantViolation("An iteration gave no token for some of its jobs.")
        return outcome

    def _admits(self) -> tuple[Admit, ...]:
        size = self._prompts.shape[1]
        return tuple(
            Admit(handle, prompt, size, size, Asked(GREEDY), 0)
            for handle, prompt in zip(self._handles, self._prompts, strict=True)
        )

    def _block_tables(self) -> tuple[BlockTable, ...]:
        return tuple(BlockTable(handle, pages) for handle, pages in zip(self._handles, self._tables, strict=True))

    def _numbered(self) -> tuple[int, int]:
        return next(_SEQUENCE), self._stage.facts.generation


@dataclass(frozen=True, slots=True)
class Steps:
    """Nanoseconds of a whole step, from plan to tokens, and of its forward pass on the device:
    means over the row.
    """

    step_ns: float
    forward_ns: float
    begun_ns: int


def decode_steps(stage: Stage, deck: Deck, count: int, traffic: Traffic | None = None, *, alone: bool = False) -> Steps:
    """`count` steps of the deck behind one that is not timed.

    Where the device computes by itself a second plan is launched before the first is answered. With
    `traffic` every plan starts the moves that there is room for. `alone`: such a plan is launched
    when nothing else is in flight, as the engine does it. Moves that are in flight at the end stay
    there; the time ends with the last step's tokens.
    """
    executor, depth = stage.executor, 2 if stage.ahead else 1
    executor.submit(deck.begin())
    deck.check(executor.poll(None))
    stage.times.wait()
    executor.iterations.clear()
    begun_ns = stage.clock.now_ns()
    in_flight = 0

    def answered(left: int) -> None:
        nonlocal in_flight
        while in_flight > left:
            outcome = deck.check(executor.poll(None))
            in_flight -= 1
            if traffic is not None:
                traffic.heard(outcome)

    for _ in range(count):
        moves = () if traffic is None else traffic.moves()
        if moves and alone:
            answered(0)
        executor.submit(deck.again(moves))
        in_flight += 1
        answered(depth - 1)
    answered(0)
    ended_ns = stage.clock.now_ns()
    marks = executor.iterations  # all of which the last answer lies behind
    forward_ns = sum(one.begun.ns_until(one.forwarded) for one in marks) / len(marks)
    return Steps((ended_ns - begun_ns) / count, forward_ns, begun_ns)
