"""How careful the planner is to be with whoever enters or returns.

Owns `Admission`, a value in tokens and shares of the room. A policy says it and has no idea of pages; the planner does it and has no idea why.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Admission:
    """`spare_tokens` of growth must be there for everybody chosen and for the job itself. While a job that has begun and needs at most the share
    `holds_below` of the room waits to come back, nobody new enters below it; 0: nobody is held.
    """

    spare_tokens: int = 0
    holds_below: float = 0.0


PLAIN_ADMISSION = Admission()
