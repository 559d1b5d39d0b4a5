"""Each job's newest token, where the next forward pass looks for it.

Owns one number for every row of the handle table, on the device: the host may not know a token yet.
Where the device is a CPU, numpy reads and writes them, in a fraction of torch's time for so few. It
does not know jobs; the runner puts tokens in, the batch builder takes them out.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ...core.plan import Int64s
from .sampler import SampledTokens


class LastTokens:
    """`rows` are always given twice: int64[n] on the host and, `there`, on the device."""

    def __init__(self, rows: int, device: torch.device) -> None:
        self._keep(torch.zeros(rows, dtype=torch.int64, device=device))

    def fit(self, rows: int) -> None:
        """Make room for so many rows."""
        missing = rows - len(self._tokens)
        if missing > 0:
            self._keep(torch.cat([self._tokens, self._tokens.new_zeros(missing)]))

    def of(self, rows: Int64s, there: Tensor) -> Tensor:
        """int64[n] on the device."""
        if self._here is None:
            return self._tokens.index_select(0, there)
        return torch.from_numpy(self._here[rows])

    def put(self, rows: Int64s, there: Tensor, sampled: SampledTokens) -> None:
        """The tokens that these rows were given, on the device."""
        if self._here is None or sampled.here is None:
            self._tokens.index_copy_(0, there, sampled.tokens)
        else:
            self._here[rows] = sampled.here

    def _keep(self, tokens: Tensor) -> None:
        self._tokens = tokens
        self._here = tokens.numpy() if tokens.is_cpu else None
