"""A dial that can be turned while a policy runs.

Owns `Dialled`, what a policy with such a dial can do beyond `Policy`. It does not know which policies have one nor what it does there; engine/intake
turns it, and a snapshot says where it stands.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from .tick import Tick


@runtime_checkable
class Dialled(Protocol):
    """Between the lowest mean (0) and the safest tail (1)."""

    @property
    def tail(self) -> float:
        """Where it stands."""
        ...

    def set_tail(self, tail: float, tick: Tick) -> None:
        """Turn it; what was learned stays. Raises InvalidSettings."""
        ...
