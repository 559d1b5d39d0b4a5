"""The old import path of model/registry.py, which was published; new code imports from there."""

from ..model.registry import (
    ENTRY_POINTS,
    find_architecture,
    find_model_type,
    known_architectures,
    register,
)

__all__ = [
    "ENTRY_POINTS",
    "find_architecture",
    "find_model_type",
    "known_architectures",
    "register",
]
