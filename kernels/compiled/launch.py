"""What every launch of a compiled kernel has in common.

Owns the compiler's options, the dtypes and the question whether a kernel runs in Triton's
interpreter. It knows no kernel. The launchers beside it ask.
"""

from __future__ import annotations

from typing import Any

import torch
from triton.errors import TritonError
from triton.runtime.jit import JITFunction

OPTIONS: dict[str, Any] = {"enable_fp_fusion": True}
"""Said, not left open: Triton's own default is about to change, and 3.9 warns about that at every
start.
"""


DTYPES = (torch.float32, torch.float16, torch.bfloat16)
"""What the kernels take. All of them sum in float32, which would be a silent loss for float64."""


def is_interpreted(kernel: object) -> bool:
    """Whether `kernel` runs in Triton's interpreter, whose matrix product takes the bits of
    bfloat16 for whole numbers.
    """
    return not isinstance(kernel, JITFunction)


REFUSED = (TritonError, RuntimeError)
"""What a launch raises when its sizes do not fit the device, or cannot be compiled for it."""
