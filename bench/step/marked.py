"""The executor of a server, with marks around the device's work of each iteration.

Owns the marks and nothing else: plans are carried out as ever. It does not know what they are for; the cases make plans, or let an engine make
them, and read the marks when the device is done.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ...core.plan import IterationPlan
from ...executor.batch import Batch
from ...executor.runner import TorchExecutor
from ...executor.sampling.sampler import SampledTokens
from ...kvstore.device.pool import PoolShape
from ...model.decoder import ForwardBatch
from ...model.weights.loaded import LoadedModel
from .times import Mark, Times


@dataclass(frozen=True, slots=True)
class Iteration:
    """`begun` in front of the forward pass, `forwarded` behind it, `ended` behind sampling and the tokens' way to the host."""

    decodes: int
    prefills: int
    begun: Mark
    forwarded: Mark
    ended: Mark


class MarkedExecutor(TorchExecutor):
    """`iterations` that computed, in order; whoever measures empties it.

    The first mark is set where everything that the host has to prepare is prepared, so that on an idle device its time is not taken for work. The
    copy of the batch's indices lies in front of it, some microseconds.
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
