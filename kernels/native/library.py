"""The compiled functions of one precision, as Python calls them.

Owns loading: signatures, the switch, and the reason where there is no library. It does not know
when a function may be called; `operations` checks shapes.
"""

from __future__ import annotations

import ctypes
import logging
import os
from collections.abc import Callable
from contextlib import suppress
from functools import cache

import torch

from .build import CannotBuild, built
from .precisions import DEFINES, processor_asked

log = logging.getLogger("skipjoin.engine")

_WIDE_BYTES = 32
"""Vectors from which on our own product was quicker than oneDNN's."""
_POINTER, _WHOLE, _REAL, _INT = ctypes.c_void_p, ctypes.c_int64, ctypes.c_double, ctypes.c_int
_SIGNATURES = {
    "rms_norm": [_POINTER] * 4 + [_WHOLE] * 3 + [_REAL, _INT],
    "gate": [_POINTER] * 2 + [_WHOLE] * 2 + [_INT] * 2,
    "rotate_and_write": [_POINTER] * 5 + [_WHOLE] * 7 + [_INT],
    "product": [_POINTER] * 5 + [_WHOLE] * 4 + [_INT],
    "attend": [_POINTER] * 5 + [_WHOLE] * 9 + [_REAL] * 2 + [_INT],
    "sample": [_POINTER] + [_WHOLE] * 3 + [_POINTER] * 14 + [_INT],
}


class Library:
    """The functions of the C files here for one dtype; arguments as stated there."""

    def __init__(self, loaded: ctypes.CDLL, name: str, dtype: torch.dtype) -> None:
        """`name` stands for sources, compiler and processor."""
        self.name = name
        self.itemsize = dtype.itemsize
        for called, types in _SIGNATURES.items():
            function = getattr(loaded, called)
            function.argtypes, function.restype = types, None
        for told in ("lanes", "longest_head", "tile_pairs", "panel_width", "rows_as_they_lie"):
            getattr(loaded, told).restype = _WHOLE
        loaded.sample_scratch.argtypes, loaded.sample_scratch.restype = [_WHOLE], _WHOLE
        self.rms_norm = loaded.rms_norm
        self.gate = loaded.gate
        self.rotate_and_write = loaded.rotate_and_write
        self.attend = loaded.attend
        self.sample = loaded.sample
        self.sample_scratch = loaded.sample_scratch
        self.product = loaded.product
        self.lanes: int = loaded.lanes()
        self.longest_head: int = loaded.longest_head()
        self.tile_pairs: int = loaded.tile_pairs()
        self.panel_width: int = loaded.panel_width()
        self.rows_as_they_lie: int = loaded.rows_as_they_lie()

    @property
    def multiplies(self) -> bool:
        """Whether its product is worth having: with narrow vectors, oneDNN's is quicker."""
        return self.lanes * self.itemsize >= _WIDE_BYTES


def compile_ahead(dtype: torch.dtype, beat: Callable[[], None]) -> None:
    """Have the library of a precision in the cache before `library` asks for it; `beat` is called
    meanwhile. What is wrong `library` says.
    """
    defines, processor = DEFINES.get(str(dtype).removeprefix("torch.")), processor_asked()
    if defines is not None and processor is not None:
        with suppress(CannotBuild, OSError):
            built(defines, processor, beat)


@cache
def library(dtype: torch.dtype) -> Library | None:
    """The library of a precision, built when first asked for; None where there is none, which the
    log explains once.
    """
    defines, processor = DEFINES.get(str(dtype).removeprefix("torch.")), processor_asked()
    if defines is None or processor is None:
        return None
    try:
        # RTLD_NOW: a function of OpenMP's that torch did not bring along shows here, not within an
        # iteration.
        path = built(defines, processor)
        return Library(ctypes.CDLL(str(path), mode=os.RTLD_NOW | os.RTLD_LOCAL), path.stem, dtype)
    except (CannotBuild, OSError, AttributeError) as error:
        log.warning("CPU kernels are not compiled: %s. Plain torch computes instead, more slowly.", error)
        return None
