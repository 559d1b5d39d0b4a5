"""How far to believe one of two forecasts of the same lives: by how well each has foretold lately.

Owns the lead of the one over the other and the weight that follows from it. It knows two tables of
hazards and events in them, no jobs; `forecast` tells it of every bin that was passed or ended in,
before that is counted.
"""

from __future__ import annotations

import math

import numpy as np

from .life_counts import Floats

MEMORY = 150.0
SHARPNESS = 0.25
LARGEST_LEAD = 24.0
"""Beyond, the weight is 1 or 0 as good as exactly; a lead that grew further would only take longer
to lose when a forecast goes bad.
"""
_LEAST = 1e-3
"""No event is thought less likely: one surprise does not settle the matter."""


class Guard:
    """The difference of the log-likelihoods of events under table `a` and under table `b`, fading
    by 1/150 with every life that ends.

    Mixing forecasts by the likelihood of what came is Bayes' rule over two experts; fading it lets
    the better one change (Herbster and Warmuth, "Tracking the best expert", 1998). Bins are events,
    so jobs that still run have their say. O(1) an event.
    """

    def __init__(self) -> None:
        self.lead = 0.0
        self._a: tuple[Floats, Floats] | None = None
        self._b: tuple[Floats, Floats] | None = None

    @property
    def weight(self) -> float:
        """Of table `a` in the mixture, 0 to 1."""
        return 1.0 / (1.0 + math.exp(-SHARPNESS * self.lead))

    def compare(self, a: Floats, b: Floats) -> None:
        """From now on events are foretold by these hazards, float64[rows, bins] each."""
        self._a, self._b = _logarithms(a), _logarithms(b)

    def passed(self, row_a: int, row_b: int, first: int, last: int) -> None:
        """A life left these bins. Before the first `compare` nothing was foretold."""
        if self._a is not None and self._b is not None:
            alive_a, alive_b = self._a[0][row_a], self._b[0][row_b]
            self._count(alive_a[last] - alive_a[first] - alive_b[last] + alive_b[first])

    def ended(self, row_a: int, row_b: int, age_bin: int) -> None:
        """A life ended in this bin."""
        if self._a is not None and self._b is not None:
            self.lead *= 1.0 - 1.0 / MEMORY
            self._count(self._a[1][row_a, age_bin] - self._b[1][row_b, age_bin])

    def _count(self, difference: float) -> None:
        self.lead = min(max(self.lead + float(difference), -LARGEST_LEAD), LARGEST_LEAD)


def _logarithms(hazards: Floats) -> tuple[Floats, Floats]:
    """Log of the chance to be alive at the beginning of each bin, and of ending in each once it is
    reached.
    """
    bounded = np.clip(hazards, _LEAST, 1.0 - _LEAST)
    alive: Floats = np.zeros_like(bounded)
    np.cumsum(np.log1p(-bounded[:, :-1]), axis=1, out=alive[:, 1:])
    return alive, np.log(bounded)
