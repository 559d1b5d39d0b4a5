"""What an engine's own thread does in an iteration beside the forward pass, with a real model on a
CPU.

Owns the engine put together as a server's is, with a stopwatch around its parts (executor, turn and
link are the real ones, timed step by step by the CPU clock of the thread), and the jobs: a batch
that decodes and as many that wait.
"""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar, TypeVarTuple

import numpy as np

from ....core.asked import Asked
from ....core.clock import Clock, MonotonicClock, thread_cpu_ns
from ....core.effects import TurnEffects
from ....core.errors import InvariantViolation
from ....core.events import Event, Submitted
from ....core.ids import Handle
from ....core.outcome import IterationOutcome
from ....core.plan import IterationPlan
from ....core.sampling import SamplingParams
from ....cost.online import CorrectedCostModel, OnlineCorrection
from ....engine.assemble import assemble
from ....engine.params import EngineParams
from ....engine.turn import Turn
from ....executor.capacity import pool_shape, use_threads
from ....executor.runner import TorchExecutor
from ....model.weights.loaded import LoadedModel
from ....model.weights.loading import load_model
from ....proto.frames import Events, FromDoor, FromEngine, encode_from_door, framed
from ....serving.facts import EngineFacts, EngineWords
from ....serving.ipc import EngineEnd, IpcClosed, ipc_pair
from ....serving.worker.announce import AnnouncingExecutor
from ....serving.worker.engine_parts import Engine
from ....serving.worker.engine_process import serve
from ....serving.worker.learned_file import LearnedFile
from ....serving.worker.pulse import Pulse
from ...load.process import compute_threads
from ...yardstick import Yardstick
from .turns import COST, YARDSTICK_EVERY, Timing, timing_of

WHOLE = "whole"
"""The name of all of an iteration, from one `begin` to the next."""

TURN, BUILD, FORWARD, SAMPLE, ANSWER, SEND, DOOR = "turn", "build", "forward", "sample", "answer", "send", "door"
YARDSTICK = "yardstick"
PARTS = {
    TURN: "scheduler, planner, stops",
    BUILD: "batch",
    SAMPLE: "sampling",
    ANSWER: "answer",
    SEND: "effects to the door",
}
"""What is an engine's own, and its words for a person: neither the forward pass, nor the door that
takes what was sent, nor the yardstick."""
METHODS = {"_build": BUILD, "_forward": FORWARD, "_sample": SAMPLE, "poll": ANSWER}
"""Of the executor."""
_READ_BYTES = 1 << 20

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Stopwatch:
    """`iterations`: nanoseconds by part, `WHOLE` among them; a part that did not come is 0.

    Reading the clock itself, twice a lap, is in them.
    """

    def __init__(self) -> None:
        self.iterations: list[Counter[str]] = []
        self._laps = Counter[str]()
        self._begun_ns = thread_cpu_ns()

    def begin(self, *, counts: bool) -> None:
        """The next iteration begins; the one before it is kept if it `counts`."""
        now_ns = thread_cpu_ns()
        if counts:
            self._laps[WHOLE] = now_ns - self._begun_ns
            self.iterations.append(self._laps)
        self._laps = Counter()
        self._begun_ns = now_ns

    def lap(self, part: str, work: Callable[[*Ts], T], *given: *Ts) -> T:
        """What `work` gives; its time is added to `part`."""
        begun_ns = thread_cpu_ns()
        result = work(*given)
        self._laps[part] += thread_cpu_ns() - begun_ns
        return result


def timed_parts(executor: TorchExecutor, turn: Turn, watch: Stopwatch, batch: int) -> None:
    """Make laps of the executor's and the turn's own methods.

    An iteration, from one `decide` to the next, counts if it decoded `batch` jobs and no prompt.
    """
    steady = False
    for name, part in METHODS.items():
        setattr(executor, name, partial(watch.lap, part, getattr(executor, name)))
    decide, settle = turn.decide, turn.settle

    def timed_decide(events: Sequence[Event] = ()) -> IterationPlan | None:
        watch.begin(counts=steady)
        return watch.lap(TURN, decide, events)

    def timed_settle(outcome: IterationOutcome | None) -> TurnEffects:
        nonlocal steady
        effects = watch.lap(TURN, settle, outcome)
        steady = effects.stats.decode_jobs == batch and not effects.stats.prefill_tokens
        return effects

    turn.decide, turn.settle = timed_decide, timed_settle  # type: ignore[method-assign]


class TimedLink(EngineEnd):
    """The engine's end of a link whose other end is here as well: what was sent is read at once,
    and forgotten.

    Closed as soon as there are `wanted` iterations that count. Between some of them the yardstick
    is measured.
    """

    def __init__(
        self, end: socket.socket, door: socket.socket, wanted: int, watch: Stopwatch, yardstick: Yardstick
    ) -> None:
        super().__init__(end)
        self._yardstick = yardstick
        self._door = door
        self._wanted = wanted
        self._watch = watch

    def drain(self) -> list[FromDoor]:
        """As the link's."""
        if len(self._watch.iterations) >= self._wanted:
            raise IpcClosed("All is measured.")
        return super().drain()

    def send(self, frame: FromEngine) -> None:
        """As the link's."""
        self._watch.lap(SEND, super().send, frame)
        self._watch.lap(DOOR, self._door.recv, _READ_BYTES)
        if len(self._watch.iterations) % YARDSTICK_EVERY == 0:
            self._watch.lap(YARDSTICK, self._yardstick.measure)


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
    executor = TorchExecutor(model, pool_shape(model, kv_tokens=room, host_kv_tokens=room // 4, max_batch=batch))
    with ExitStack() as stack:
        door, end = (stack.enter_context(one) for one in ipc_pair())
        stack.callback(executor.close)
        facts = executor.start()
        link = TimedLink(end, door, WARM_ITERATIONS + iterations, watch, yardstick)
        cost = CorrectedCostModel(COST, OnlineCorrection())
        state = assemble(POLICY, cost, facts, params, end_tokens=frozenset(model.config.eos_ids))
        turn = Turn(state, AnnouncingExecutor(executor, link, INCARNATION), clock)
        timed_parts(executor, turn, watch, batch)
        words = EngineWords(batch, "cpu", "float32", "", "")
        engine = Engine(EngineFacts(facts, POLICY, words), turn, executor, None, LearnedFile(None))
        jobs = _jobs(2 * batch, facts.vocab_size, replace(sampling, max_new_tokens=output), clock)
        door.sendall(framed(encode_from_door(Events(INCARNATION, jobs))))
        try:
            serve(link, engine, clock, INCARNATION, Pulse(link, INCARNATION, clock))
        except IpcClosed:
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
