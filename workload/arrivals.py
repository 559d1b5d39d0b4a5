"""When requests arrive.

Owns Poisson arrivals by seed and the stretching of recorded ones. It does not know lengths;
`workload` calls it. Rates are requests over arrival span (algorithm.md section 3), and a stretched
or drawn sequence hits its rate exactly, so that two seeds differ in pattern and never in load.
"""

from __future__ import annotations

import numpy as np

from ..core.plan import Int64s

NS = 1e9


def rate_per_s(arrival_ns: Int64s) -> float | None:
    """Requests over arrival span; None when the span is 0."""
    span_ns = int(arrival_ns[-1] - arrival_ns[0])
    return len(arrival_ns) * NS / span_ns if span_ns > 0 else None


def poisson(count: int, rate: float, seed: int) -> Int64s:
    """int64[count] arrivals in ns, the first at 0: exponential gaps, stretched so that count / span
    is `rate` a second.

    The same seed gives the same pattern at every rate. The draw is inverted from uniform doubles,
    the part of the generator whose stream is stable.
    """
    draws = np.random.Generator(np.random.PCG64([seed, 1])).random(count)
    gaps = -np.log1p(-draws)
    gaps[0] = 0.0
    times = np.cumsum(gaps)
    if count < 2:
        return np.zeros(count, dtype=np.int64)
    arrival_ns: Int64s = np.rint(times * (count * NS / (rate * times[-1]))).astype(np.int64)
    return arrival_ns


def stretch(arrival_ns: Int64s, rate: float) -> Int64s:
    """The same pattern, burst shape kept, at `rate` requests a second. Raises ValueError when the
    span is 0.
    """
    old = rate_per_s(arrival_ns)
    if old is None:
        raise ValueError("arrivals at one instant cannot be stretched")
    first = int(arrival_ns[0])
    stretched: Int64s = np.rint((arrival_ns - first) * (old / rate)).astype(np.int64)
    return stretched
