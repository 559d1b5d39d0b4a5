"""The executor of a server, with marks around the device's work of each iteration.

Owns the two ways to mark when the device did what. Plans are carried out as ever.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch

from ....core.clock import Clock
from ....core.plan import IterationPlan
from ....executor.batch import Batch
from ....executor.runner import TorchExecutor
from ....executor.sampling.sampler import SampledTokens
from ....kvstore.device.pool import PoolShape
from ....model.decoder import ForwardBatch
from ....model.weights.loaded import LoadedModel


class Mark(Protocol):
    """A point in the order of the device's work."""

    def ns_until(self, later: Mark) -> float:
        """Nanoseconds from here to a later mark. The device must have come to it: call `Times.wait`
        first.
        """
        ...


class Times(Protocol):
    """The marks of one device."""

    def mark(self) -> Mark:
        """A mark behind everything that the device has been given, in front of everything that it
        will be.
        """
        ...

    def wait(self) -> None:
        """Until the device has nothing to do: copies on their way are over, too."""
        ...


def times_of(device: torch.device, clock: Clock) -> Times:
    """Events on CUDA; the clock where work is done when its call returns."""
    return CudaTimes(device) if device.type == "cuda" else CpuTimes(clock)


class _ClockMark:
    def __init__(self, at_ns: int) -> None:
        self.at_ns = at_ns

    def ns_until(self, later: Mark) -> float:
        assert isinstance(later, _ClockMark), "marks of one kind"
        return float(later.at_ns - self.at_ns)


class CpuTimes:
    """Marks are readings of the clock."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def mark(self) -> Mark:
        return _ClockMark(self._clock.now_ns())

    def wait(self) -> None:
        """There is nothing to wait for."""


class _EventMark:
    def __init__(self, device: torch.device) -> None:
        # The current stream is where the executor launches; the mover's streams are beside it.
        self.event = torch.cuda.Event(enable_timing=True)
        self.event.record(torch.cuda.current_stream(device))

    def ns_until(self, later: Mark) -> float:
        assert isinstance(later, _EventMark), "marks of one kind"
        return float(self.event.elapsed_time(later.event)) * 1e6  # milliseconds


class CudaTimes:
    """Marks are events: the device writes down when it came to them, however far ahead the host is."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def mark(self) -> Mark:
        return _EventMark(self._device)

    def wait(self) -> None:
        torch.cuda.synchronize(self._device)


@dataclass(frozen=True, slots=True)
class Iteration:
    """`begun` before the forward pass, `forwarded` behind it, `ended` when tokens are on the host."""

    decodes: int
    prefills: int
    begun: Mark
    forwarded: Mark
    ended: Mark


class MarkedExecutor(TorchExecutor):
    """`iterations` that computed, in order; what measures empties it.

    The first mark is set where the host has prepared everything, so that on an idle device its time
    is not taken for work. The copy of the batch's indices lies in front of it, some microseconds.
    """

    def __init__(self, model: LoadedModel, pool: PoolShape, times: Times, graph_rows: int) -> None:
        super().__init__(model, pool, graph_rows=graph_rows)
        self._times = times
        self._forward_marks: tuple[Mark, Mark] | None = None
        self.iterations: list[Iteration] = []

    def _forward(self, batch: ForwardBatch) -> Any:
        begun = self._times.mark()
        logits = super()._forward(batch)
        self._forward_marks = begun, self._times.mark()
        return logits

    def _sample(self, plan: IterationPlan, batch: Batch, logits: Any) -> SampledTokens | None:
        sampled = super()._sample(plan, batch, logits)
        assert self._forward_marks is not None, "an iteration is computed before it is sampled"
        begun, forwarded = self._forward_marks
        self.iterations.append(Iteration(len(plan.decode), len(plan.prefills), begun, forwarded, self._times.mark()))
        return sampled
