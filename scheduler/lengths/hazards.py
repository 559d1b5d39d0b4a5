"""Output lengths, learned while jobs run: the hazard of ending at an age, for every size of prompt.

Owns the bins of age, the buckets of prompts, the counts and the hazards made of them. It does not
know jobs, times or costs: `adaptive` says who passed a bin and who ended in one, and `demand_table`
prices what it answers.

A bin is counted when a job leaves it, alive or not. So a job that is still running, or was
cancelled, has said all it can say and nothing more: right-censored lives enter a hazard without
bias (the life table of Kaplan and Meier, 1958, on binned ages), where a histogram of finished jobs
is short for as long as the long ones run.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from .life_counts import Floats, LifeCounts

NO_SCORE = -1
"""In place of a score bucket: the prompt's bucket says all."""

FIRST_EDGE, EDGE_RATIO, LAST_EDGE = 8, 1.25, 1 << 17


def age_edges() -> tuple[int, ...]:
    """Output ages in tokens at which bins begin: 0, then every 8 tokens, later each 1.25 times the
    one before.
    """
    edges = [0, FIRST_EDGE]
    while edges[-1] < LAST_EDGE:
        edges.append(max(edges[-1] + FIRST_EDGE, int(edges[-1] * EDGE_RATIO)))
    return tuple(edges)


EDGES = age_edges()
BINS = len(EDGES)
"""The last bin has no end."""


def bin_of(tokens: int) -> int:
    """The bin of a job that has emitted `tokens` tokens."""
    return bisect_right(EDGES, tokens) - 1


@dataclass(frozen=True, slots=True)
class LengthParams:
    """How lengths are learned.

    A bucket's hazard counts the hazard of all prompts as `shrinkage` jobs, and that one the cold
    start as one job. What was counted fades by 1/`memory` with every job that ends. Prompts of up
    to 2^(first_bucket + 1) tokens are the first bucket, each next one twice as long. A Lomax
    distribution of this `shape` and `scale` (tokens) stands for lengths before any was seen: under
    it what is left grows with what was had, which is what makes a ladder of levels double its
    quanta. Hazards are made anew after `rebuild_every` ends.
    """

    shrinkage: float = 20.0
    memory: float = 1000.0
    buckets: int = 8
    first_bucket: int = 6
    shape: float = 1.5
    scale: float = 32.0
    rebuild_every: int = 8


class Lengths:
    """Counts by (prompt bucket, age bin) and the hazards of the last rebuild. O(1) a count,
    O(buckets * bins) a rebuild.
    """

    def __init__(self, params: LengthParams | None = None) -> None:
        self._params = params = params or LengthParams()
        self.counts = LifeCounts(params.buckets + 1, BINS, params.memory)  # row 0: all prompts
        self._since_rebuild = 0
        edges = np.asarray(EDGES, dtype=np.float64) + params.scale
        cold = 1.0 - (edges[:-1] / edges[1:]) ** params.shape
        self._cold = np.append(cold, cold[-1])
        self.hazards: Floats = self._hazards()
        """float64[buckets + 1, bins]: the share of those who reach a bin that end in it."""
        self.rebuilds = 0
        """How often hazards were made of counts; 0 while nothing is learned."""

    def bucket(self, prompt_tokens: int) -> int:
        """The bucket of a prompt, 1 to `buckets`."""
        params = self._params
        return min(max(prompt_tokens.bit_length() - 1 - params.first_bucket, 0), params.buckets - 1) + 1

    def passed(self, bucket: int, first: int, last: int) -> None:
        """A job left the bins from `first` up to, not including, `last` alive."""
        self.counts.passed(0, first, last)
        self.counts.passed(bucket, first, last)

    def ended(self, bucket: int, age_bin: int) -> bool:
        """A job had all its tokens in this bin; answers whether hazards are due to be made anew."""
        self.counts.ended(0, age_bin)
        self.counts.ended(bucket, age_bin)
        self.counts.fade()
        self._since_rebuild += 1
        return self._since_rebuild >= self._params.rebuild_every

    def rebuild(self) -> None:
        """Make hazards of what was counted."""
        self.hazards = self._hazards()
        self._since_rebuild = 0
        self.rebuilds += 1

    def curve(self, bucket: int, score: int = NO_SCORE) -> Floats:
        """float64[bins]: the hazards of a bucket, whatever else is known of the job."""
        curve: Floats = self.hazards[bucket]
        return curve

    def expected_tokens(self, bucket: int, age_bin: int) -> float:
        """Tokens that a job at the beginning of a bin has before it, those who end in a bin ending
        in its middle.
        """
        tokens = 0.0
        for hazard, width in zip(self.hazards[bucket, age_bin:][::-1], _WIDTHS[age_bin:][::-1], strict=True):
            tokens = width * (1.0 - hazard / 2.0) + (1.0 - hazard) * tokens
        return tokens

    def _hazards(self) -> Floats:
        ended, passed = self.counts.read()
        seen = ended + passed
        everybody = (ended[0] + self._cold) / (seen[0] + 1.0)
        shrinkage = self._params.shrinkage
        out = (ended + shrinkage * everybody) / (seen + shrinkage)
        out[0] = everybody
        hazards: Floats = np.clip(out, 1e-6, 1.0)
        hazards[:, -1] = 1.0
        return hazards


_WIDTHS = (*(end - begin for begin, end in pairwise(EDGES)), EDGES[-1] // 4)
