"""How the stream passes from stage to stage of a pipeline.

Owns the port `Ring`: the stages in their order, and behind the last one the first again, which has
the head. It knows no transport; executor/ranks has the one on torch.distributed. The decoders of
stages call it, every stage in the order of the plans.
"""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class Ring(Protocol):
    """Both ends of a passage know its shape from the plan: nothing but numbers passes."""

    @property
    def stage(self) -> int:
        """This stage, from 0."""
        ...

    @property
    def stages(self) -> int:
        """How many there are."""
        ...

    def send(self, rows: Tensor) -> None:
        """Hand rows on to the next stage. Raises RuntimeError when it is gone."""
        ...

    def receive(self, into: Tensor) -> Tensor:
        """Fill `into` with what the stage before handed on; the same tensor. Raises RuntimeError
        when that is gone.
        """
        ...
