"""Where a rank stands among the others.

Owns `Seat`: ranks of a stage share its layers, and stages follow each other. It knows no process
and no tensor. serving/worker makes it of the settings, the group of the ranks obeys it.

Worked example: 2 stages of 2 ranks. Ranks 0 and 1 are the first stage, 2 and 3 the second; rank 3
sums with rank 2, and the stream comes to it from rank 1.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Seat:
    """Rank `rank` where each of `stages` has `abreast` ranks."""

    rank: int
    abreast: int
    stages: int

    @property
    def stage(self) -> int:
        """The stage that it belongs to."""
        return self.rank // self.abreast

    @property
    def place(self) -> int:
        """Its number among the ranks of its stage."""
        return self.rank % self.abreast

    @property
    def ranks(self) -> int:
        """All there are."""
        return self.abreast * self.stages
