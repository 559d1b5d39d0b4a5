"""The log-probabilities that go with one token.

Owns `TokenLogprobs`, apart from the outcome of an iteration, so that the SDK may have it without
numpy. It does not know how they were computed; executors make them, the token log keeps them,
streams show them.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TokenLogprobs:
    """Log-probability of the chosen token and of the best alternatives, as (token id,
    log-probability), best first.
    """

    chosen: float
    top: tuple[tuple[int, float], ...] = ()
