"""The engine of a server with a stopwatch around its parts.

Owns the executor, the turn and the link of an engine process, each the real one whose steps are
timed one by one by the CPU clock of the thread. It does not know which jobs run.
"""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, TypeVarTuple

from ....core.clock import Clock, thread_cpu_ns
from ....core.effects import TurnEffects
from ....core.events import Event
from ....core.executor import Executor
from ....core.outcome import IterationOutcome
from ....core.plan import IterationPlan
from ....engine.state import EngineState
from ....engine.turn import Turn
from ....executor.batch import Batch
from ....executor.runner import TorchExecutor
from ....executor.sampling.sampler import SampledTokens
from ....kvstore.device.pool import PoolShape
from ....model.decoder import ForwardBatch
from ....model.weights.loaded import LoadedModel
from ....proto.frames import FromDoor, FromEngine
from ....serving.link import EngineEnd, LinkClosed
from ...yardstick import Yardstick
from .turns import YARDSTICK_EVERY

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


class TimedExecutor(TorchExecutor):
    """`build`, `forward`, `sample` and `answer` are laps of their own."""

    def __init__(self, model: LoadedModel, pool: PoolShape, watch: Stopwatch) -> None:
        super().__init__(model, pool)
        self._watch = watch

    def _build(self, plan: IterationPlan) -> Batch:
        return self._watch.lap(BUILD, super()._build, plan)

    def _forward(self, batch: ForwardBatch) -> Any:
        return self._watch.lap(FORWARD, super()._forward, batch)

    def _sample(self, plan: IterationPlan, batch: Batch, logits: Any) -> SampledTokens | None:
        return self._watch.lap(SAMPLE, super()._sample, plan, batch, logits)

    def poll(self, timeout_ns: int | None) -> IterationOutcome | None:
        """As the port says."""
        return self._watch.lap(ANSWER, super().poll, timeout_ns)


class TimedTurn(Turn):
    """An iteration, from one `decide` to the next, counts if it decoded `batch` jobs and no prompt."""

    def __init__(self, state: EngineState, executor: Executor, clock: Clock, batch: int, watch: Stopwatch) -> None:
        super().__init__(state, executor, clock)
        self._batch = batch
        self._watch = watch
        self._steady = False

    def decide(self, events: Sequence[Event] = ()) -> IterationPlan | None:
        """As the turn's."""
        self._watch.begin(counts=self._steady)
        return self._watch.lap(TURN, super().decide, events)

    def settle(self, outcome: IterationOutcome | None) -> TurnEffects:
        """As the turn's."""
        effects = self._watch.lap(TURN, super().settle, outcome)
        self._steady = effects.stats.decode_jobs == self._batch and not effects.stats.prefill_tokens
        return effects


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
            raise LinkClosed("All is measured.")
        return super().drain()

    def send(self, frame: FromEngine) -> None:
        """As the link's."""
        self._watch.lap(SEND, super().send, frame)
        self._watch.lap(DOOR, self._door.recv, _READ_BYTES)
        if len(self._watch.iterations) % YARDSTICK_EVERY == 0:
            self._watch.lap(YARDSTICK, self._yardstick.measure)
