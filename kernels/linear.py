"""Matrix products with weights that never change.

Owns `DenseLinear` and the choice of its form: a weight laid out once for the device it runs on. On a CPU
that is our own panels where they are compiled for the precision, else oneDNN's blocked layout where
torch has it, else the plain weight. The executor's weights build it, the decoder calls it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Literal

import torch
from torch import Tensor

from .native.library import library
from .native.product import NativeProduct

Form = Literal["native", "onednn", "plain"]
_ONEDNN_DTYPES = (torch.float32, torch.bfloat16)


def form_for(device: torch.device, dtype: torch.dtype) -> Form:
    """The quickest form that there is for a device and a precision."""
    if device.type != "cpu":
        return "plain"
    found = library(dtype)
    if found is not None and found.multiplies:
        return "native"
    return "onednn" if can_pack(dtype) else "plain"


@cache
def can_pack(dtype: torch.dtype) -> bool:
    """Whether this torch build packs CPU weights of `dtype`, tried once on a small product and
    compared with the plain one.
    """
    if dtype not in _ONEDNN_DTYPES or not torch.backends.mkldnn.is_available():
        return False
    weight = torch.arange(-32, 32, dtype=dtype).view(8, 8) / 64
    x = torch.arange(24, dtype=dtype).view(3, 8) / 8
    try:
        packed = torch.ops.mkldnn._reorder_linear_weight(weight, None)
        product = torch.ops.mkldnn._linear_pointwise(x, packed, None, "none", [], "")
    except (AttributeError, NotImplementedError, RuntimeError):
        return False
    return bool(
        torch.allclose(product, torch.nn.functional.linear(x, weight), rtol=1e-2 if dtype is torch.bfloat16 else 1e-5)
    )


class DenseLinear:
    """y = x W^T + b for weight[out, in], bias[out] or None. `form` None: the quickest; tests and
    benchmarks name one.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None = None, *, form: Form | None = None) -> None:
        self.out_features, self.in_features = weight.shape
        self.dtype = weight.dtype
        self.form = form if form is not None else form_for(weight.device, weight.dtype)
        self._product = _product(self.form, weight, bias)

    def warm_up(self, rows: int) -> None:
        """Let oneDNN make its code for batches of up to `rows` rows, so that no job pays for it."""
        if self.form == "onednn":
            for count in sorted({padded_rows(n) for n in range(1, rows + 1)}):
                self(torch.zeros(count, self.in_features, dtype=self.dtype))

    def __call__(self, x: Tensor) -> Tensor:
        """[n, in] -> [n, out]."""
        return self._product(x)


def _product(form: Form, weight: Tensor, bias: Tensor | None) -> Callable[[Tensor], Tensor]:
    if form == "native":
        found = library(weight.dtype)
        assert found is not None, "there is no library to lay a weight out for"
        return NativeProduct(found, weight, bias)
    if form == "onednn":
        return _OneDnnProduct(weight, bias)
    weight = weight.contiguous()
    return lambda x: torch.nn.functional.linear(x, weight, bias)


class _OneDnnProduct:
    """Blocked by oneDNN: a batch of 8 tokens took a third to a fifth of the general product's time,
    prompts 1.3 to 1.8 times less.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        self._out, self._bias = len(weight), bias
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight, None)

    def __call__(self, x: Tensor) -> Tensor:
        rows = len(x)
        padded = padded_rows(rows)
        if padded != rows:
            x = torch.cat([x, x.new_zeros(padded - rows, x.shape[1])])
        product: Tensor = torch.ops.mkldnn._linear_pointwise(x, self._weight, self._bias, "none", [], "")
        return product if padded == rows else product[:rows]


def padded_rows(rows: int) -> int:
    """Rows that a product of oneDNN's is computed for.

    Up to 4 rows all take as long as reading the weights, and oneDNN's code for exactly 4 was the
    quickest. oneDNN makes code for every new row count, about 1 ms a product, so counts fall into
    classes: exact up to 32, then multiples of 4 up to 256, of 16 up to 1024, of 64 beyond.
    """
    step = 1 if rows <= 32 else 4 if rows <= 256 else 16 if rows <= 1024 else 64
    return max(4, -(-rows // step) * step)
