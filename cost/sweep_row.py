"""One measured iteration.

Owns `SweepRow`. Sweeps, published tables and records make rows; profiler/fit fits cost models to
them.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SweepRow:
    """One measured iteration: what the batch held, and how long it took.

    `chunks` are (tokens, context before) of its prefill chunks, `decode_contexts` the sum over the
    `decode_jobs` members, each counting the token that is computed.
    """

    chunks: tuple[tuple[int, int], ...]
    decode_jobs: int
    decode_contexts: int
    measured_ns: int

    def features(self) -> tuple[float, ...]:
        """Multipliers of A, P1, P2, D1, D2."""
        tokens = sum(length for length, _ in self.chunks)
        pairs = sum(length * (before + length) for length, before in self.chunks)
        return (1.0, float(tokens), float(pairs), float(self.decode_contexts), float(self.decode_jobs))
