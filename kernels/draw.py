"""Random numbers that depend on a job's seed and a token's position, and on nothing else.

Owns a counter-based generator in whole-number tensor operations: the same draw alone, in any batch,
after a restart, on CPU and CUDA. It knows no job; the plain-torch sampler calls it, the compiled
ones have the same generator in C and as device code.
"""

from __future__ import annotations

import torch
from torch import Tensor


def _signed(value: int) -> int:
    """The 64-bit pattern as the signed number that torch holds it in."""
    return value - 2**64 if value >= 2**63 else value


_GOLDEN = _signed(0x9E3779B97F4A7C15)
_MIX_1 = _signed(0xBF58476D1CE4E5B9)
_MIX_2 = _signed(0x94D049BB133111EB)


def _shift_right(x: Tensor, bits: int) -> Tensor:
    """Logical shift: torch's own keeps the sign."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def mix64(x: Tensor) -> Tensor:
    """The finaliser of SplitMix64 (Steele, Lea, Flood 2014) on int64 tensors; products wrap modulo
    2^64.
    """
    x = (x ^ _shift_right(x, 30)) * _MIX_1
    x = (x ^ _shift_right(x, 27)) * _MIX_2
    return x ^ _shift_right(x, 31)


def uniform(seeds: Tensor, positions: Tensor) -> Tensor:
    """float64[n], strictly between 0 and 1, for int64[n] seeds and positions.

    SplitMix64 at counter `position` of a stream whose start is mixed from `seed`. 52 bits, because
    53 and the half would round up to 1.
    """
    state = mix64(seeds + _GOLDEN) + (positions + 1) * _GOLDEN
    return (_shift_right(mix64(state), 12).to(torch.float64) + 0.5) * 2.0**-52
