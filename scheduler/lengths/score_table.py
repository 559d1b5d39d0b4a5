"""Hazards by score: how lives went whose length was guessed alike.

Owns the score buckets, their counts and the hazards made of them. It does not know where guesses
come from nor whether they are any good: `forecast` mixes these hazards with those of the prompt's
bucket by how well each has foretold.
"""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np

from .life_counts import Floats, LifeCounts

STEP = 0.3
"""Width of a score bucket in the logarithm of tokens."""
BUCKETS = 41
PRIOR_LIVES = 20.0
_SD_STEP = 0.05
_LEAST_SD, _LARGEST_SD = 0.2, 2.5


def score_bucket(mu: float) -> int:
    """The bucket of a guess."""
    return min(max(round(mu / STEP), 0), BUCKETS - 1)


class ScoreTable:
    """Counts by (score bucket, age bin): each bucket starts from a lognormal around its guess,
    counted as 20 lives. O(1) a count.
    """

    def __init__(self, edges: tuple[int, ...], memory: float) -> None:
        self._edges = edges
        self.counts = LifeCounts(BUCKETS, len(edges), memory)
        self._guessed: tuple[int, Floats] = (-1, np.zeros(0))

    def hazards(self, sd: float) -> Floats:
        """float64[buckets, bins], for guesses that are off by `sd`: (ended + 20 h) / (ended +
        passed + 20), h of the lognormal.
        """
        ended, passed = self.counts.read()
        prior = self._prior(sd)
        hazards: Floats = np.clip((ended + PRIOR_LIVES * prior) / (ended + passed + PRIOR_LIVES), 1e-6, 1.0)
        hazards[:, -1] = 1.0
        return hazards

    def _prior(self, sd: float) -> Floats:
        steps = round(min(max(sd, _LEAST_SD), _LARGEST_SD) / _SD_STEP)
        if self._guessed[0] != steps:
            rows = [lognormal_hazards(STEP * bucket, _SD_STEP * steps, self._edges) for bucket in range(BUCKETS)]
            self._guessed = (steps, np.asarray(rows))
        return self._guessed[1]


def lognormal_hazards(mu: float, sd: float, edges: tuple[int, ...]) -> list[float]:
    """The share of those who reach a bin that end in it, of lengths with normal logarithms; where
    hardly anybody is left, that of the bin before.
    """
    alive = [1.0, *(0.5 * math.erfc((math.log(edge) - mu) / (sd * math.sqrt(2.0))) for edge in edges[1:])]
    hazards: list[float] = []
    for now, then in pairwise(alive):
        hazards.append(1.0 - then / now if now > 1e-9 else hazards[-1])
    return [*hazards, 1.0]
