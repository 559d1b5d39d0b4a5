"""What an engine's own thread does in an iteration beside the forward pass, with a real model on a
CPU.

Owns the jobs (a batch that decodes and as many that wait), and the engine put together as a
server's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np

from ....core.asked import Asked
from ....core.clock import Clock, MonotonicClock
from ....core.errors import InvariantViolation
from ....core.events import Submitted
from ....core.ids import Handle
from ....core.sampling import SamplingParams
from ....cost.online import CorrectedCostModel, OnlineCorrection
from ....engine.assemble import assemble
from ....engine.params import EngineParams
from ....executor.capacity import pool_shape, use_threads
from ....model.weights.loaded import LoadedModel
from ....model.weights.loading import load_model
from ....proto.frames import Events, encode_from_door, framed
from ....serving.facts import EngineFacts, EngineWords
from ....serving.link import LinkClosed, link_pair
from ....serving.worker.announce import AnnouncingExecutor
from ....serving.worker.engine_parts import Engine
from ....serving.worker.engine_process import serve
from ....serving.worker.learned_file import LearnedFile
from ....serving.worker.pulse import Pulse
from ...load.server import compute_threads
from ...yardstick import Yardstick
from .timed_engine import DOOR, FORWARD, PARTS, WHOLE, YARDSTICK, Stopwatch, TimedExecutor, TimedLink, TimedTurn
from .timing import Timing, timing_of
from .turns import COST

POLICY = "adaptive"
PROMPT_TOKENS = 64
WARM_ITERATIONS = 32
TARGET = 1.0
INCARNATION = 1
SAMPLINGS = {
    "greedy": (SamplingParams(temperature=0.0), TARGET),
    "temperature, top-p": (SamplingParams(temperature=0.8, top_p=0.95), None),
}


def prepared(folder: Path) -> LoadedModel:
    """The model on the CPU, with as many threads as a server of the demo. Raises InvalidModel."""
    use_threads(compute_threads())
    return load_model(folder, "cpu", "float32")


def measure_engine(model: LoadedModel, batch: int, iterations: int) -> Iterator[Timing]:
    """For each sampling all but the forward pass, then its parts, which end in what is in none of
    them.

    Raises InvalidInput where the KV of `batch` jobs does not fit into memory.
    """
    for kind, (sampling, target) in SAMPLINGS.items():
        yardstick = Yardstick()
        laps = decoded(model, batch, iterations, sampling, yardstick)
        yield from _timings(kind, laps, yardstick.unit_ms, target)


def decoded(
    model: LoadedModel, batch: int, iterations: int, sampling: SamplingParams, yardstick: Yardstick
) -> list[Counter[str]]:
    """Nanoseconds of the parts of each iteration that decoded `batch` jobs, once it is warm."""
    clock, watch = MonotonicClock(), Stopwatch()
    output = 2 * (WARM_ITERATIONS + iterations) + batch
    room = batch * (PROMPT_TOKENS + output)
    params = EngineParams(max_batch=batch)
    executor = TimedExecutor(model, pool_shape(model, kv_tokens=room, host_kv_tokens=room // 4, max_batch=batch), watch)
    with ExitStack() as stack:
        door, end = (stack.enter_context(one) for one in link_pair())
        stack.callback(executor.close)
        facts = executor.start()
        link = TimedLink(end, door, WARM_ITERATIONS + iterations, watch, yardstick)
        cost = CorrectedCostModel(COST, OnlineCorrection())
        state = assemble(POLICY, cost, facts, params, end_tokens=frozenset(model.config.eos_ids))
        turn = TimedTurn(state, AnnouncingExecutor(executor, link, INCARNATION), clock, batch, watch)
        words = EngineWords(batch, "cpu", "float32", "", "")
        engine = Engine(EngineFacts(facts, POLICY, words), turn, executor, None, LearnedFile(None))
        jobs = _jobs(2 * batch, facts.vocab_size, replace(sampling, max_new_tokens=output), clock)
        door.sendall(framed(encode_from_door(Events(INCARNATION, jobs))))
        try:
            serve(link, engine, clock, INCARNATION, Pulse(link, INCARNATION, clock))
        except LinkClosed:
            return watch.iterations[WARM_ITERATIONS:]
    raise InvariantViolation("The engine stopped before it was told to.")


def _jobs(count: int, vocabulary: int, sampling: SamplingParams, clock: Clock) -> tuple[Submitted, ...]:
    """Prompts about `PROMPT_TOKENS` long, all different, so that pages run full in different
    iterations.
    """
    draw = np.random.default_rng(0)
    jobs = []
    for number in range(count):
        prompt = draw.integers(0, vocabulary, PROMPT_TOKENS - 8 + number % 16).astype(np.int32)
        jobs.append(
            Submitted(Handle(number), len(prompt), Asked(replace(sampling, seed=number)), clock.now_ns(), prompt=prompt)
        )
    return tuple(jobs)


def _timings(kind: str, iterations: Sequence[Counter[str]], unit_ms: float, target: float | None) -> Iterator[Timing]:
    own = [laps[WHOLE] - laps[FORWARD] - laps[DOOR] - laps[YARDSTICK] for laps in iterations]
    yield timing_of(f"decode, {kind}", own, unit_ms, target)
    for part, words in PARTS.items():
        yield timing_of(f"  {words}", [laps[part] for laps in iterations], unit_ms)
    rest = [all_of - sum(laps[part] for part in PARTS) for all_of, laps in zip(own, iterations, strict=True)]
    yield timing_of("  rest", rest, unit_ms)
