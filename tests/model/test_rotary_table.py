"""The table of angles: what a computation gives for every position, whatever was asked for before."""

from __future__ import annotations

import pytest
import torch

from skipjoin.kernels.elementwise import rotary_angles
from skipjoin.model.parts.frequencies import inverse_frequencies
from skipjoin.model.parts.rope import Rope
from skipjoin.model.parts.rotary_table import RotaryTable

CPU = torch.device("cpu")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_a_looked_up_angle_is_the_computed_one_to_the_bit(dtype):
    rope = Rope("default", theta=10_000.0, turned=32)
    table, frequencies = RotaryTable(rope, CPU, dtype, recorded=False), inverse_frequencies(rope, CPU)
    for asked in ([0], [5, 3, 5], [1023, 1024], [70_001, 2], [7], []):
        positions = torch.tensor(asked, dtype=torch.int64)
        found, computed = table.at(positions, max(asked, default=-1) + 1), rotary_angles(positions, frequencies, dtype)
        for mine, theirs in zip(found, computed, strict=True):
            assert mine.dtype is dtype
            assert mine.shape == (len(asked), 1, 16)
            assert torch.equal(mine, theirs)


def test_the_magnitude_of_a_stretched_embedding_is_in_the_table():
    plain = RotaryTable(Rope("default", theta=10_000.0, turned=32), CPU, torch.float64, recorded=False)
    stretched = RotaryTable(
        Rope("default", theta=10_000.0, turned=32, magnitude=1.25), CPU, torch.float64, recorded=True
    )
    positions = torch.tensor([0, 9, 4000])
    for one, other in zip(plain.at(positions, 4001), stretched.at(positions, 4001), strict=True):
        torch.testing.assert_close(other, one * 1.25, rtol=1e-6, atol=1e-7)
