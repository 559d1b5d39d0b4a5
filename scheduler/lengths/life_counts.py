"""Lives counted by row and age bin, older ones for less.

Owns two tables of counts, who left a bin alive and who ended in it, and how they fade. It does not
know what a row stands for: `lengths` keeps one by prompt bucket, `score_table` one by score bucket.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_LARGEST_WEIGHT = 1e6


class LifeCounts:
    """float64[rows, bins] of those who passed and of those who ended. O(bins) a count, O(1) a
    fading.
    """

    def __init__(self, rows: int, bins: int, memory: float) -> None:
        """Counts fade by 1/`memory` at every call of `fade`."""
        self._ended = np.zeros((rows, bins))
        self._passed = np.zeros((rows, bins))
        self._weight = 1.0  # of one count now: growing weights are fading counts
        self._growth = 1.0 / (1.0 - 1.0 / memory)

    @property
    def shape(self) -> tuple[int, ...]:
        """Rows and bins."""
        return self._ended.shape

    def passed(self, row: int, first: int, last: int) -> None:
        """One life left the bins from `first` up to, not including, `last`."""
        self._passed[row, first:last] += self._weight

    def ended(self, row: int, age_bin: int) -> None:
        """One life ended in this bin."""
        self._ended[row, age_bin] += self._weight

    def fade(self) -> None:
        """Whatever was counted so far counts for a little less."""
        self._weight *= self._growth

    def read(self) -> tuple[Floats, Floats]:
        """Who ended and who passed, in lives counted now; the tables are their reader's to keep."""
        if self._weight > _LARGEST_WEIGHT:
            self._ended /= self._weight
            self._passed /= self._weight
            self._weight = 1.0
        return self._ended / self._weight, self._passed / self._weight

    def restore(self, ended: Floats, passed: Floats) -> None:
        """Go on from what `read` answered once."""
        self._ended, self._passed, self._weight = ended.copy(), passed.copy(), 1.0
