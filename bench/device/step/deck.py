"""Jobs that decode together again and again from the same context on, by plans written here.

Owns the plans: which jobs are admitted with which pages, and the decode batch, which stays one
object so that the executor keeps what it can of it. And rows of steps, launched as an engine's are.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count as count_up

import numpy as np

from ....core.asked import Asked
from ....core.errors import InvariantViolation
from ....core.ids import Handle
from ....core.outcome import IterationOutcome
from ....core.plan import NO_DECODE, Admit, BlockTable, DecodeBatch, IterationPlan, Move, PrefillChunk
from ....core.sampling import SamplingParams
from .stage import Stage, pages_of_job
from .traffic import Traffic

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
