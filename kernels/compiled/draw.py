"""Random numbers of a job's seed and a token's position, inside a kernel.

Owns the generator as device code: SplitMix64 (Steele, Lea, Flood 2014) at a counter, bit for bit
what the sampler on the host draws. It knows no job. The sampling kernel calls it.
"""

from __future__ import annotations

import triton
import triton.language as tl

_GOLDEN = tl.constexpr(0x9E3779B97F4A7C15)
_MIX_1 = tl.constexpr(0xBF58476D1CE4E5B9)
_MIX_2 = tl.constexpr(0x94D049BB133111EB)


@triton.jit
def _mix64(x):  # type: ignore[no-untyped-def]
    x = (x ^ (x >> 30)) * tl.full((), _MIX_1, tl.uint64)
    x = (x ^ (x >> 27)) * tl.full((), _MIX_2, tl.uint64)
    return x ^ (x >> 31)


@triton.jit
def uniform(seed, position):  # type: ignore[no-untyped-def]
    """float64, strictly between 0 and 1, of an int64 seed and an int64 position: 52 bits and a
    half.
    """
    golden = tl.full((), _GOLDEN, tl.uint64)
    state = _mix64(seed.to(tl.uint64, bitcast=True) + golden) + (position + 1).to(tl.uint64, bitcast=True) * golden
    return ((_mix64(state) >> 12).to(tl.int64).to(tl.float64) + 0.5) * 2.220446049250313e-16
