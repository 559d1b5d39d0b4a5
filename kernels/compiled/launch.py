"""What every launch of a compiled kernel has in common.

Owns the compiler's options and the question whether a kernel runs in Triton's interpreter. It knows no kernel. The launchers beside it ask.
"""

from __future__ import annotations

from typing import Any

from triton.runtime.jit import JITFunction

OPTIONS: dict[str, Any] = {"enable_fp_fusion": True}
"""Said, not left open: Triton's own default is about to change, and 3.9 warns about that at every start."""


def is_interpreted(kernel: object) -> bool:
    """Whether `kernel` runs in Triton's interpreter, whose matrix product takes the bits of bfloat16 for whole numbers."""
    return not isinstance(kernel, JITFunction)
