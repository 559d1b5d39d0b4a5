"""Decode steps and prefills against their rooflines."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ....model.weights.loaded import LoadedModel
from ...figures import Spread
from ..roofline import COPY, GEMM, Work, roofline_ns
from .deck import Deck, decode_steps
from .row import ROOFLINE, TIME, Row, milliseconds, tokens_a_second
from .scenario import Decode, Prefill
from .stage import Stage
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
