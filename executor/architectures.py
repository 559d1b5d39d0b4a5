"""The old import path of model/architectures.py, which was published; new code imports from there."""

from ..model.architectures import (
    GATED_ACTIVATIONS,
    GELU,
    GELU_TANH,
    PLAIN_ACTIVATIONS,
    SILU,
    Architecture,
    Norm,
    TensorNames,
    Windows,
)

__all__ = [
    "GATED_ACTIVATIONS",
    "GELU",
    "GELU_TANH",
    "PLAIN_ACTIVATIONS",
    "SILU",
    "Architecture",
    "Norm",
    "TensorNames",
    "Windows",
]
