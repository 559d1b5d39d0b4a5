"""What the cases share: inputs of a dtype, and how far a result may be from its float64 reference."""

from __future__ import annotations

import torch

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
TOLERANCE = {torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 1e-2}


def assert_near(got: torch.Tensor, want: torch.Tensor) -> float:
    """The largest error relative to the largest number of `want`, which is float64; fails above the
    dtype's tolerance, and on NaN.
    """
    error = float((got.double() - want).abs().max() / want.abs().max())
    assert error <= TOLERANCE[got.dtype], f"{error} of the largest number, {TOLERANCE[got.dtype]} allowed"
    return error


def refuses(call) -> None:
    """Fails unless `call` raises IndexError."""
    try:
        call()
    except IndexError:
        return
    raise AssertionError("accepted")
