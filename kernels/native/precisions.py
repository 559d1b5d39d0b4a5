"""What the C sources are compiled for: precisions, and the processor.

Owns the macros of each precision and the variable that names another processor than this one. It
needs no torch, so that a compiler can be started before torch is imported; `library` compiles and
loads one of them.
"""

from __future__ import annotations

import os

from .build import OWN

SWITCH = "SKIPJOIN_NATIVE"
"""Environment variable. `off` keeps everything in plain torch; one of NARROWER compiles for less
than this processor can do, to try it.
"""
NARROWER = {"avx2": "x86-64-v3", "sse2": "x86-64"}
DEFINES = {
    "float32": {"REAL": "float", "REAL_BYTES": "4", "WHOLE": "int32_t"},
    "float64": {"REAL": "double", "REAL_BYTES": "8", "WHOLE": "int64_t"},
}
"""Precision -> macros."""


def processor_asked() -> str | None:
    """The processor to compile for, by the compiler's name for it; None where nothing shall be
    compiled.
    """
    told = os.environ.get(SWITCH, "").lower()
    return None if told == "off" else NARROWER.get(told, OWN)
