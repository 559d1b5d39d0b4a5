"""A bar beside what was measured: the one verdict of `bench engine` and `bench live`."""

from __future__ import annotations

from dataclasses import dataclass

from ..figures import Spread, held


@dataclass(frozen=True, slots=True)
class Verdict:
    """Ours over another's."""

    #: A batch or a cell.
    where: str
    #: What is compared.
    label: str
    over: str
    #: None: one of the two is not known.
    ratio: Spread | None
    limit: float
    at_most: bool = False

    @property
    def holds(self) -> bool | None:
        """None: not known."""
        return held(self.ratio, self.limit, at_most=self.at_most)
