"""What a policy answers that promotes nobody and whose order stands still while nothing happens.

Owns four answers of `Policy`. It knows no job; `adaptive` and the policies that are an index
function derive from it, and differ where they say so.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..core.effects import LevelChanged
from ..core.ids import Handle
from ..core.policy import Tick


class NoOffers:
    """Who ranks best comes first, so nobody has to be offered, and nobody can say when anybody else
    will run.
    """

    def grant(self, handle: Handle, tick: Tick) -> LevelChanged | None:
        """Nothing was offered."""
        return None

    def offers(self) -> Sequence[Handle]:
        """None."""
        return ()

    def next_change_ns(self) -> int | None:
        """Never: ranks move with events only."""
        return None

    def next_run_ns(self, handle: Handle, tick: Tick, max_batch: int) -> int | None:
        """Cannot say."""
        return None
