"""A row of decode steps, launched as an engine's are, and how long they took.

Owns the loop: where the device computes by itself a second plan is launched before the first is answered. It does not know why; `decode` and
`moves` time rows with it.
"""

from __future__ import annotations

from dataclasses import dataclass

from .deck import Deck
from .stage import Stage
from .traffic import Traffic


@dataclass(frozen=True, slots=True)
class Steps:
    """Nanoseconds of a whole step, from plan to tokens, and of its forward pass on the device: means over the row. `begun_ns` on the clock."""

    step_ns: float
    forward_ns: float
    begun_ns: int


def decode_steps(stage: Stage, deck: Deck, count: int, traffic: Traffic | None = None, *, alone: bool = False) -> Steps:
    """`count` steps of the deck behind one that is not timed; with `traffic` every plan starts the moves that there is room for.

    `alone`: a plan that starts moves is launched when nothing else is in flight, as the engine does it. Moves that are in flight at the end stay
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
