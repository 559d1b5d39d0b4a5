"""Cosine and sine of every position, looked up instead of computed in each iteration.

Owns one table per rotary embedding, which grows with the positions that are asked for. It does not
know heads or layers; the decoder asks once a pass, and says how far the positions go: to look at
them here would make the host wait for a device. Where passes are recorded and replayed the angles
are computed each time: a recording could not grow a table.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ...kernels.elementwise import rotary_angles
from .frequencies import inverse_frequencies
from .rope import Rope

_FIRST = 1024


class RotaryTable:
    """The angles of one rotary embedding, in a model's precision. With `recorded` there is no
    table.
    """

    def __init__(self, rope: Rope, device: torch.device, dtype: torch.dtype, *, recorded: bool) -> None:
        self._frequencies = inverse_frequencies(rope, device)
        self._magnitude = rope.magnitude
        self._dtype = dtype
        self._recorded = recorded
        self._cos, self._sin = self._angles(torch.arange(0, device=device))

    def at(self, positions: Tensor, end: int) -> tuple[Tensor, Tensor]:
        """Cosine and sine, [n, 1, turned / 2] each, times the embedding's magnitude, for int64[n]
        positions, all below `end`.
        """
        if self._recorded:
            return self._angles(positions)
        if end > len(self._cos):
            size = max(_FIRST, 1 << (end - 1).bit_length())
            self._cos, self._sin = self._angles(torch.arange(size, device=positions.device))
        return self._cos[positions], self._sin[positions]

    def _angles(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        if self._magnitude == 1.0:
            return rotary_angles(positions, self._frequencies, self._dtype)
        cos, sin = rotary_angles(positions, self._frequencies, torch.float32)
        return (cos * self._magnitude).to(self._dtype), (sin * self._magnitude).to(self._dtype)
