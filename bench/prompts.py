"""Prompts of given lengths: random token ids by seed.

Owns the draw. It does not know a vocabulary beyond its size; live runs call it. The same seed gives the same prompts to every target and policy.
"""

from __future__ import annotations

import numpy as np

from ..core.plan import Int32s
from ..workload.requests import Workload
from .target import Asked


def requests_of(workload: Workload, vocab_size: int) -> list[Asked]:
    """One `Asked` for each request of the workload, in order of arrival; token ids in [0, vocab_size)."""
    generator = np.random.Generator(np.random.PCG64([workload.seed, 3]))
    asked = []
    for number, (tokens, new_tokens) in enumerate(
        zip(workload.prompt_tokens.tolist(), workload.output_tokens.tolist(), strict=True)
    ):
        ids: Int32s = (generator.random(tokens) * vocab_size).astype(np.int32)
        asked.append(Asked(number, ids, new_tokens))
    return asked
