"""How long jobs will run still: the hazards that the adaptive ladder prices, and everything that
they are learned from.

Owns the counts by prompt, the guess of a length on arrival, the counts by guess and the guard
between the two. It knows no order, no time and no cost, and outlives a policy: `adaptive` tells it
of lives and reads curves, engine/assemble keeps one, `learned` writes it down.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...core.policy import JobAttributes
from .guard import Guard
from .hazards import EDGES, NO_SCORE, LengthParams, Lengths
from .life_counts import Floats
from .score import Score
from .score_table import ScoreTable, score_bucket


@dataclass(frozen=True, slots=True)
class Life:
    """What a job's length is judged by from its arrival to its end: the bucket of its prompt, and
    its guess, if there is one.
    """

    bucket: int
    score: int = NO_SCORE
    mu: float = 0.0
    keys: tuple[int, ...] = ()


class Forecast:
    """A job's curve is the mixture of two: that of its prompt bucket and that of its score bucket,
    by survival, weighted by the guard.

    The score only chooses a table; which hazards stand in it is counted, and a job that outlives
    its guess is judged by those who did so too. Without `score` the curve is the prompt bucket's.
    O(bins) an event, O(buckets * bins) a rebuild, bounded memory.
    """

    def __init__(self, learning: LengthParams | None = None, score: Score | None = None) -> None:
        learning = learning or LengthParams()
        self.lengths = Lengths(learning)
        self.score = score
        self.table = ScoreTable(EDGES, learning.memory)
        self.guard = Guard()
        self._by_score: Floats = self.lengths.hazards
        self._curves: dict[tuple[int, int], Floats] = {}

    @property
    def rebuilds(self) -> int:
        """How often hazards were made of counts; 0 while nothing is learned."""
        return self.lengths.rebuilds

    def expect(self, attributes: JobAttributes) -> Life:
        """A job arrives."""
        bucket = self.lengths.bucket(attributes.prompt_tokens)
        if self.score is None:
            return Life(bucket)
        keys = self.score.keys(attributes)
        mu = self.score.mu(keys)
        return Life(bucket, score_bucket(mu), mu, keys)

    def passed(self, life: Life, first: int, last: int) -> None:
        """It left the bins from `first` up to, not including, `last` alive."""
        if self.score is not None:
            self.guard.passed(life.score, life.bucket, first, last)
            self.table.counts.passed(life.score, first, last)
        self.lengths.passed(life.bucket, first, last)

    def ended(self, life: Life, age_bin: int, tokens: int) -> bool:
        """It had all its tokens, the last in this bin; answers whether hazards are due to be made
        anew.
        """
        if self.score is not None:
            self.guard.ended(life.score, life.bucket, age_bin)
            self.table.counts.ended(life.score, age_bin)
            self.table.counts.fade()
            self.score.learn(life.keys, life.mu, tokens)
        return self.lengths.ended(life.bucket, age_bin)

    def rebuild(self) -> None:
        """Make hazards of what was counted."""
        self.lengths.rebuild()
        self._curves.clear()
        if self.score is not None:
            self._by_score = self.table.hazards(self.score.sd)
            self.guard.compare(self._by_score, self.lengths.hazards)

    def bucket(self, prompt_tokens: int) -> int:
        """The bucket of a prompt."""
        return self.lengths.bucket(prompt_tokens)

    def curve(self, bucket: int, score: int) -> Floats:
        """float64[bins]: hazards of jobs with prompts and scores of these buckets, as of the last
        rebuild; NO_SCORE: of all such prompts.
        """
        if score == NO_SCORE or not self.rebuilds:
            return self.lengths.curve(bucket)
        curve = self._curves.get((bucket, score))
        if curve is None:
            curve = mixture(self._by_score[score], self.lengths.hazards[bucket], self.guard.weight)
            self._curves[bucket, score] = curve
        return curve


def mixture(a: Floats, b: Floats, weight: float) -> Floats:
    """Hazards of a population of which a share `weight` lives by `a` and the rest by `b`."""
    alive = weight * _survival(a) + (1.0 - weight) * _survival(b)
    hazards: Floats = np.clip(1.0 - alive[1:] / alive[:-1], 1e-6, 1.0)
    return np.append(hazards, 1.0)


def _survival(hazards: Floats) -> Floats:
    """Alive at the beginning of each bin; a rest of one in a million survives each, so that nobody
    is divided by nobody.
    """
    return np.concatenate(([1.0], np.cumprod(1.0 - np.minimum(hazards[:-1], 1.0 - 1e-6))))
