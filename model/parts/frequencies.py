"""Radians per position of each pair of a head, for every kind of rotary embedding.

Owns the formulas. It does not know config.json (rope.py reads it) or heads; the decoder asks once,
at load.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .rope import Rope


def inverse_frequencies(rope: Rope, device: torch.device) -> Tensor:
    """float32[turned / 2]. In float32 whatever the model's precision is, as the models were
    trained.

    "llama3" keeps pairs that turn more than `high` times within the original context, slows those
    that turn less than `low` times by `factor`, and blends linearly between (Llama 3.1 model card
    and reference code). "yarn" blends between the pairs that turn `high` and `low` times (Peng et
    al. 2023, section 3.2). "short" divides each pair's frequency by its own divisor (Ding et al.
    2024).
    """
    exponents = torch.arange(0, rope.turned, 2, dtype=torch.float32, device=device) / rope.turned
    frequencies = 1.0 / (rope.theta**exponents)
    if rope.kind == "linear":
        return frequencies / rope.factor
    if rope.kind == "llama3":
        turns = rope.original_context_tokens * frequencies / (2 * math.pi)
        kept = ((turns - rope.low) / (rope.high - rope.low)).clamp(0.0, 1.0)
        return (1 - kept) * frequencies / rope.factor + kept * frequencies
    if rope.kind == "yarn":
        slowed = _slowed(rope, device)
        return slowed * frequencies / rope.factor + (1 - slowed) * frequencies
    if rope.kind == "short":
        return 1.0 / (torch.tensor(rope.divisors, dtype=torch.float32, device=device) * rope.theta**exponents)
    return frequencies


def _slowed(rope: Rope, device: torch.device) -> Tensor:
    """How much of each pair is slowed, from 0 to 1: a ramp over the pairs between those that turn
    `high` and `low` times.
    """

    def pair_that_turns(times: float) -> float:
        return rope.turned * math.log(rope.original_context_tokens / (times * 2 * math.pi)) / (2 * math.log(rope.theta))

    first, last = pair_that_turns(rope.high), pair_that_turns(rope.low)
    if rope.truncated:
        first, last = math.floor(first), math.ceil(last)
    first, last = max(first, 0), min(last, rope.turned - 1)
    if first == last:
        last += 0.001  # a step instead of a ramp
    pairs = torch.arange(rope.turned // 2, dtype=torch.float32, device=device)
    return ((pairs - first) / (last - first)).clamp(0.0, 1.0)
