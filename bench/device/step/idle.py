"""How long the device has nothing to do while the engine's own loop decodes.

Owns the engine that is put together for it, as a server's is, and the gaps between one iteration's
end and the next one's begin. How many plans the engine keeps in flight does not matter: marks lie
in the order of the device's work.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count, pairwise

import numpy as np

from ....core.asked import Asked
from ....core.errors import InvariantViolation
from ....core.events import Submitted
from ....core.ids import Handle
from ....core.plan import IterationPlan
from ....core.sampling import SamplingParams
from ....cost.online import CorrectedCostModel, OnlineCorrection
from ....engine.assemble import assemble
from ....engine.params import EngineParams
from ....engine.turn import Turn
from ...figures import Spread
from ..turn.turns import COST
from .decode import Told
from .marked import Iteration
from .row import IDLE, TIME, Row, milliseconds, tokens_a_second
from .scenario import Idle
from .stage import Stage

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
