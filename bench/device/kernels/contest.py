"""A contest: one kernel on one shape, and everything that can compute it.

Owns the float64 truth that all are held against, and the bound by dtype. It times nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ....kernels.layout import KvLayout
from ..race import Contestant
from ..roofline import Work
from ..setting import BOUNDS
from .scenario import Case, ModelShape
from .subject import Subject

OURS, REFERENCE = "skipjoin", "reference"
OWN = (OURS, REFERENCE)


@dataclass(frozen=True, slots=True)
class Ground:
    """Where contests are made: the shape of the model, the product's kernels, device and precision."""

    model: ModelShape
    subject: Subject
    device: torch.device
    dtype: torch.dtype

    def randn(self, *shape: int) -> Tensor:
        """Numbers on the device."""
        return torch.randn(*shape, device=self.device, dtype=self.dtype)

    def layout(self, layers: int) -> KvLayout:
        """Of pages of the model."""
        return KvLayout(layers, self.model.kv_heads, self.model.page_tokens, self.model.head_dim)


def _nothing() -> None:
    return None


@dataclass(frozen=True, slots=True)
class Contest:
    """One line of the table for each contestant.

    `truth`: in float64. `bound`: the largest error; 0 means that not one element may differ.
    `absent`: who cannot take part, and why. `close`: ends what it began.
    """

    name: str
    kernel: str
    contestants: tuple[Contestant, ...]
    truth: Callable[[], Tensor]
    bound: float
    work: Work
    absent: dict[str, str] = field(default_factory=dict)
    close: Callable[[], None] = _nothing

    def error(self, got: Tensor, truth: Tensor) -> float:
        """Largest difference over the truth's largest number; with `bound` 0 the share of elements
        that differ.

        Infinite for NaN and for another shape.
        """
        got = got.to(truth.device)
        if got.shape != truth.shape:
            return math.inf
        if self.bound == 0:
            return float((got != truth).double().mean())
        apart = float((got.double() - truth).abs().max())
        return math.inf if math.isnan(apart) else apart / max(float(truth.abs().max()), 1e-300)


def contest_of(
    ground: Ground, case: Case, contestants: list[Contestant], truth: Callable[[], Tensor], work: Work
) -> Contest:
    """A contest within the bound of the precision."""
    return Contest(case.name, case.kernel, tuple(contestants), truth, BOUNDS[ground.dtype], work)


def exact_contest(case: Case, contestants: list[Contestant], truth: Callable[[], Tensor], work: Work) -> Contest:
    """A contest in which nothing may differ."""
    return Contest(case.name, case.kernel, tuple(contestants), truth, 0.0, work)
