"""The second half of a layer, in which each row goes its own way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor
from torch.nn.functional import gelu, silu

from ...kernels.dispatch import Kernels
from .linear import Linear
from .reader import Reader
from .share import all_of

Activation = Callable[[Kernels, Tensor], Tensor]
"""What stands between the two products; it may write over what it is given."""

GATES: dict[str, Activation] = {
    "silu": lambda kernels, gate_up: kernels.silu_gate(gate_up),
    "gelu_tanh": lambda kernels, gate_up: kernels.gelu_gate(gate_up),
}
PLAIN: dict[str, Activation] = {
    "relu": lambda kernels, x: torch.relu_(x),
    "silu": lambda kernels, x: silu(x),
    "gelu": lambda kernels, x: gelu(x),
    "gelu_tanh": lambda kernels, x: gelu(x, approximate="tanh"),
}
"""`ModelConfig.activation` -> what it is with a gate beside it, and without one."""


@dataclass(frozen=True, slots=True)
class Mlp:
    """down(activate(up(x))). With a gate, `up` gives [gate | up] and `activate` joins the two."""

    up: Linear
    activate: Activation
    down: Linear

    @classmethod
    def read(cls, reader: Reader, i: int) -> Self:
        """Layer i's."""
        config, names = reader.config, reader.config.architecture.tensors
        stream, columns = all_of(config.hidden), reader.share(config.intermediate)
        outputs = (columns,) * (2 if names.gated else 1)
        return cls(
            up=reader.linear(names.of_mlp, outputs, stream, i, bias=config.mlp_bias),
            activate=(GATES if names.gated else PLAIN)[config.activation],
            down=reader.linear((names.down,), (stream,), columns, i, bias=config.mlp_bias),
        )

    def of(self, kernels: Kernels, x: Tensor) -> Tensor:
        """[n, hidden] -> [n, hidden]."""
        return self.down(self.activate(kernels, self.up(x)))
