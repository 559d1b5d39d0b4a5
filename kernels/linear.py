"""Matrix products with weights that never change.

Owns `Linear`: a weight laid out once for the device it runs on. On a CPU, float32 and bfloat16 weights are kept in oneDNN's blocked layout,
which made a batch of 8 tokens 3 to 5 times faster than the general matrix product on the AMD machine it was measured on, and prompts
1.3 to 1.8 times. The executor's weights build it, the decoder calls it.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

_PACKED_DTYPES = (torch.float32, torch.bfloat16)


@cache
def can_pack(dtype: torch.dtype) -> bool:
    """Whether this torch build packs CPU weights of `dtype`, tried once on a small product and compared with the plain one."""
    if dtype not in _PACKED_DTYPES or not torch.backends.mkldnn.is_available():
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


def padded_rows(rows: int) -> int:
    """Rows that a packed product is computed for.

    Up to 4 rows all take as long as reading the weights, and oneDNN's code for exactly 4 was the quickest. oneDNN makes code for every new row
    count, about 1 ms a product, so counts fall into classes: exact up to 32, then multiples of 4 up to 256, of 16 up to 1024, of 64 beyond.
    """
    step = 1 if rows <= 32 else 4 if rows <= 256 else 16 if rows <= 1024 else 64
    return max(4, -(-rows // step) * step)


class Linear:
    """y = x W^T + b for weight[out, in], bias[out] or None. `packed=False` keeps the plain product (tests compare the two)."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None, *, packed: bool = True) -> None:
        self.out_features, self.in_features = weight.shape
        self._bias = bias
        self._dtype = weight.dtype
        self._packed = packed and weight.device.type == "cpu" and can_pack(weight.dtype)
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight, None) if self._packed else weight.contiguous()

    def warm_up(self, rows: int) -> None:
        """Let oneDNN make its code for batches of up to `rows` rows, so that no job pays for it."""
        if self._packed:
            for count in sorted({padded_rows(n) for n in range(1, rows + 1)}):
                self(torch.zeros(count, self.in_features, dtype=self._dtype))

    def __call__(self, x: Tensor) -> Tensor:
        """[n, in] -> [n, out]."""
        if self._packed:
            rows = len(x)
            padded = padded_rows(rows)
            if padded != rows:
                x = torch.cat([x, x.new_zeros(padded - rows, self.in_features)])
            product: Tensor = torch.ops.mkldnn._linear_pointwise(x, self._weight, self._bias, "none", [], "")
            return product if padded == rows else product[:rows]
        return torch.nn.functional.linear(x, self._weight, self._bias)
