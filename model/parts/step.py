"""What the parts of a decoder share while one iteration goes through them."""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import Tensor

from ...kernels.dispatch import Kernels
from ...kernels.layout import PagedKv


class Step(NamedTuple):
    """One forward pass. `iteration` is what `Kernels.prepare` made of pages, contexts and slots;
    `angles` are cosine and sine of each rotary embedding; attention leaves its result in
    `mixed`[n, heads, head_dim].
    """

    kernels: Kernels
    kv: PagedKv
    iteration: Any
    angles: list[tuple[Tensor, Tensor]]
    mixed: Tensor
