"""The slow correction of a profile by what iterations really take.

Owns one bounded factor on all predictions of iterations, and the error that is exported. It knows
no job: quanta were fixed at start and charges of the past stay; only later predictions move. A live
engine is assembled on a `CorrectedCostModel` and engine/turn tells it each iteration; simulations
run on the profile as it is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..core.cost_model import CostModel

_LIMIT = 4.0
_SLOWEST = 1.0 / 512.0
_LOG_LIMIT = math.log(_LIMIT)


class OnlineCorrection:
    """A geometric running mean of measured / predicted, between 1/4 and 4.

    The first observations count by their number, later ones by 1/512, so that a drift shows within
    some hundred iterations and a hiccup hardly; an observation is clipped to the same bounds before
    it counts.
    """

    __slots__ = ("_error", "_log", "_seen", "factor")

    def __init__(self) -> None:
        self._log = 0.0
        self._error = 0.0
        self._seen = 0
        self.factor = 1.0
        """What predictions are multiplied by."""

    @property
    def observations(self) -> int:
        """Iterations seen."""
        return self._seen

    @property
    def relative_error(self) -> float:
        """Running mean of |corrected prediction - measured| / measured, each at most 3; 0 before
        the first observation.
        """
        return self._error

    def observe_corrected(self, predicted_ns: int, measured_ns: int) -> None:
        """The same of a prediction that holds the factor of now, or of an iteration ago; taken for
        the base's, it would be learned twice.
        """
        self.observe(round(predicted_ns / self.factor), measured_ns)

    def observe(self, predicted_ns: int, measured_ns: int) -> None:
        """An iteration that the *uncorrected* model put at `predicted_ns` took `measured_ns`;
        without both nothing is learned.
        """
        if predicted_ns <= 0 or measured_ns <= 0:
            return
        self._seen += 1
        # 32 is a prior: a factor of 1 seen 32 times, so that a cold first iteration does not rule.
        weight = max(1.0 / (self._seen + 32), _SLOWEST)
        # Bounded like the ratio: one iteration that took next to nothing must not hide what all
        # others were.
        error = min(abs(predicted_ns * self.factor - measured_ns) / measured_ns, _LIMIT - 1.0)
        self._error += max(1.0 / self._seen, _SLOWEST) * (error - self._error)
        log_ratio = min(max(math.log(measured_ns / predicted_ns), -_LOG_LIMIT), _LOG_LIMIT)
        self._log += weight * (log_ratio - self._log)
        self.factor = math.exp(self._log)


class CorrectedCostModel:
    """`base` times the factor, as a CostModel. Moves are not corrected: an iteration says nothing
    about the link.
    """

    __slots__ = ("base", "correction")

    def __init__(self, base: CostModel, correction: OnlineCorrection) -> None:
        self.base = base
        self.correction = correction

    def observed(self, predicted_ns: int, measured_ns: int, factor: float) -> None:
        """An iteration that this model put at `predicted_ns`, when its factor was `factor`, took
        `measured_ns`.
        """
        self.correction.observe(round(predicted_ns / factor), measured_ns)

    def chunk_ns(self, tokens: int, context_before: int) -> int:
        """A prefill chunk's own time."""
        return int(self.base.chunk_ns(tokens, context_before) * self.correction.factor + 0.5)

    def prompt_ns(self, tokens: int) -> int:
        """A whole prompt alone."""
        return int(self.base.prompt_ns(tokens) * self.correction.factor + 0.5)

    def decode_ns(self, batch: int, context_sum: int) -> int:
        """The decode part."""
        return int(self.base.decode_ns(batch, context_sum) * self.correction.factor + 0.5)

    def iteration_ns(self, chunks: Sequence[tuple[int, int]], batch: int, context_sum: int) -> int:
        """A whole iteration."""
        return int(self.base.iteration_ns(chunks, batch, context_sum) * self.correction.factor + 0.5)

    def move_ns(self, tokens: int) -> int:
        """As the base."""
        return self.base.move_ns(tokens)

    def alone_ns(self, prompt_tokens: int, output_tokens: int) -> int:
        """Latency alone."""
        return int(self.base.alone_ns(prompt_tokens, output_tokens) * self.correction.factor + 0.5)
