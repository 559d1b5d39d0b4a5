"""A contest: one kernel on one shape, and everybody who can compute it.

Owns what a contestant is, the float64 truth that all are held against, and the bound by dtype. It times nothing and renders nothing; `attention`,
`pieces` and `draws` make contests, `study` runs them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

OURS, REFERENCE = "skipjoin", "reference"
OWN = (OURS, REFERENCE)
BOUNDS = {torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 1e-2}
"""The largest error, as a share of the largest number of the truth."""


@dataclass(frozen=True, slots=True)
class Contestant:
    """`run` is what is timed, again and again on the same memory; `result` computes once and gives what is compared with the truth.

    A `result` of None: it does something else, and is only timed. `graphable`: nothing in `run` waits for the device, so that CUDA can replay it
    without Python between the launches.
    """

    name: str
    run: Callable[[], object]
    result: Callable[[], Tensor] | None
    graphable: bool = True


@dataclass(frozen=True, slots=True)
class Work:
    """The least that must be done: bytes that memory moves, products and sums, bytes over the link to the host (`link` says which way)."""

    bytes: int
    flops: int = 0
    link: str | None = None
    link_bytes: int = 0


def _nothing() -> None:
    return None


@dataclass(frozen=True, slots=True)
class Contest:
    """`truth` in float64; `bound` None means that not one element may differ. `absent`: who cannot take part, and why. `close` ends what it began."""

    name: str
    kernel: str
    contestants: tuple[Contestant, ...]
    truth: Callable[[], Tensor]
    bound: float | None
    work: Work
    absent: dict[str, str] = field(default_factory=dict)
    close: Callable[[], None] = _nothing

    def error(self, got: Tensor, truth: Tensor) -> float:
        """Largest difference over the truth's largest number, or with `bound` None the share of elements that differ.

        Infinite for NaN and for another shape.
        """
        got = got.to(truth.device)
        if got.shape != truth.shape:
            return math.inf
        if self.bound is None:
            return float((got != truth).double().mean())
        apart = float((got.double() - truth).abs().max())
        return math.inf if math.isnan(apart) else apart / max(float(truth.abs().max()), 1e-300)

    def holds(self, error: float) -> bool:
        """Whether such an error may be."""
        return error <= (0.0 if self.bound is None else self.bound)
