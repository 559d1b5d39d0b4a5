"""A weight laid out for the compiled product, and the product with it.

Owns the panels, the room that many rows need and the choice between one thread and all of them. It
knows neither layers nor who computes where there is no compiler. `linear` takes it where it can be
had; `product.c` states the layout.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .library import Library

_ALONE = 2**15
"""Weights up to which one thread works alone: waking the others costs some microseconds."""


class NativeProduct:
    """x W^T + b for weight[out, in] and bias[out] or None."""

    def __init__(self, library: Library, weight: Tensor, bias: Tensor | None) -> None:
        self._library = library
        self._dtype = weight.dtype
        self._out, self._in = weight.shape
        self._panels = in_panels(weight, library.panel_width)
        self._bias = None if bias is None else _filled(bias, library.panel_width)
        self._alone = weight.numel() <= _ALONE

    def __call__(self, x: Tensor) -> Tensor:
        """[n, in] -> [n, out]; a row's numbers depend on nothing but the row."""
        if x.stride(1) != 1:
            x = x.contiguous()
        rows, depth = x.shape
        assert depth == self._in and x.dtype is self._dtype
        out = x.new_empty(rows, self._out)
        if not rows:
            return out
        room = x.new_empty(rows, depth) if rows > self._library.rows_as_they_lie else None
        self._library.product(
            x.data_ptr(), self._panels.data_ptr(), None if self._bias is None else self._bias.data_ptr(),
            out.data_ptr(),
            None if room is None else room.data_ptr(), rows, x.stride(0), depth, self._out,
            1 if self._alone else torch.get_num_threads(),
        )  # fmt: skip
        return out


def in_panels(weight: Tensor, width: int) -> Tensor:
    """[out, in] -> [ceil(out / width), in, width], the last panel filled up with zeros."""
    return _filled(weight, width).view(-1, width, weight.shape[1]).transpose(1, 2).contiguous()


def _filled(rows: Tensor, width: int) -> Tensor:
    missing = -len(rows) % width
    return torch.cat([rows, rows.new_zeros(missing, *rows.shape[1:])]) if missing else rows.contiguous()
