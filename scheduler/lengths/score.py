"""A guess at the logarithm of an output length, learned one answer at a time.

Owns the weights of the features and how far guesses were off lately. It does not know hazards, ages
or who asks: `forecast` turns a guess into the choice of a table, so a guess that is off by a
constant does no harm.
"""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np

from ...core.policy import JobAttributes
from .features import PLACES, keys_of
from .life_counts import Floats

RATE = 0.5
CLIP = 1.0
"""An answer e times longer or shorter than the guess teaches as much as one that is further off: a
few wild ones do not throw the weights about.
"""
FIRST_MU = 5.0
FIRST_SD = 1.0
SPREAD_MEMORY = 200.0
LARGEST_VARIANCE = 9.0


class Score(Protocol):
    """What `forecast` asks of a guesser. Numbers are natural logarithms of output tokens."""

    @property
    def sd(self) -> float:
        """How far guesses are off, as a standard deviation."""
        ...

    def keys(self, attributes: JobAttributes) -> tuple[int, ...]:
        """What is kept of an open job to guess and to learn by."""
        ...

    def mu(self, keys: tuple[int, ...]) -> float:
        """The guess."""
        ...

    def learn(self, keys: tuple[int, ...], guessed: float, tokens: int) -> None:
        """A job with these keys, whose guess on arrival was `guessed`, had this many tokens and was
        not cut off.
        """
        ...


class LengthScore:
    """Linear in hashed features, by AdaGrad (Duchi, Hazan and Singer, 2011) on the clipped error of
    the logarithm. O(features) a job.

    AdaGrad takes large steps for what was seen seldom and small ones for what was seen often, so a
    new tenant is learned from its first answers while the weights that all share rest. `weights`
    and `squares` are float64[PLACES].
    """

    def __init__(self, salt: bytes = b"") -> None:
        self.salt = salt
        self.weights: Floats = np.zeros(PLACES)
        self.squares: Floats = np.zeros(PLACES)
        self.variance = FIRST_SD**2

    @property
    def sd(self) -> float:
        """Of guesses made on arrival, over the last few hundred answers."""
        return math.sqrt(self.variance)

    def keys(self, attributes: JobAttributes) -> tuple[int, ...]:
        """Places of the features."""
        return keys_of(attributes, self.salt)

    def mu(self, keys: tuple[int, ...]) -> float:
        """The sum of the features' weights over the root of their number."""
        weights = self.weights
        return FIRST_MU + float(sum(weights[key] for key in keys)) / math.sqrt(len(keys))

    def learn(self, keys: tuple[int, ...], guessed: float, tokens: int) -> None:
        """One step for every feature."""
        truth = math.log(max(tokens, 1))
        self.variance += (min((truth - guessed) ** 2, LARGEST_VARIANCE) - self.variance) / SPREAD_MEMORY
        share = 1.0 / math.sqrt(len(keys))
        step = min(max(truth - self.mu(keys), -CLIP), CLIP) * share
        if step == 0.0:
            return
        for key in keys:
            self.squares[key] += step * step
            self.weights[key] += RATE * step / math.sqrt(self.squares[key])
