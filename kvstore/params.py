"""What an operator may set about the KV manager.

Owns `KvParams`, which checks itself. It does not know pool sizes (the executor's facts say them);
settings fill it and engine/assemble hands it to the planner.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from ..core.errors import InvalidSettings

KvMode = Literal["proactive", "reactive", "recompute"]
"""proactive: victims' full blocks are written behind before the room is needed. reactive: victims
are copied out when the room is needed. recompute: victims are dropped and computed again.
"""

KV_MODES: tuple[KvMode, ...] = ("proactive", "reactive", "recompute")


@dataclass(frozen=True, slots=True)
class KvParams:
    """Room and moves.

    `floor_pages` stay free when a job enters (waived for a job that has the pool to itself; see
    `floor` for small pools), and `growth_pages` more for every job already chosen. `clean_reserve`
    is the share of the device pool that is free or can be freed at once. `lookahead` bounds the
    jobs that a turn looks at without running them; `prefetch` the host jobs behind a full batch
    that are considered for an early return, 0 for none. Raises InvalidSettings.
    """

    mode: KvMode = "proactive"
    floor_pages: int = 16
    growth_pages: int = 0
    clean_reserve: float = 0.02
    prefetch: int = 4
    lookahead: int = 32

    def floor(self, pages: int, *, swaps: bool) -> int:
        """Floor in a pool of `pages`. Short of pages a victim is copied out, or computed again: the
        dearer that is, the more a small pool keeps.

        Where victims are swapped an idle page costs more than a copy (docs/decisions/0007).
        """
        return min(self.floor_pages, max(1, pages // 32) if swaps else pages, pages // 8)

    def __post_init__(self) -> None:
        if self.mode not in KV_MODES:
            raise InvalidSettings(f"mode is {self.mode!r}.", field="kv.mode", limit=f"one of {', '.join(KV_MODES)}")
        _whole("floor_pages", self.floor_pages, 0, 1 << 20)
        _whole("growth_pages", self.growth_pages, 0, 1 << 10)
        _whole("prefetch", self.prefetch, 0, 1 << 10)
        _whole("lookahead", self.lookahead, 1, 1 << 16)
        share = self.clean_reserve
        if isinstance(share, bool) or not isinstance(share, (int, float)) or not math.isfinite(share):
            raise InvalidSettings("clean_reserve must be a number.", field="kv.clean_reserve", limit="0 to 0.5")
        if not 0 <= share <= 0.5:
            raise InvalidSettings(f"clean_reserve is {share:g}.", field="kv.clean_reserve", limit="0 to 0.5")


def _whole(field: str, value: int, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise InvalidSettings(f"{field} is {value!r}.", field=f"kv.{field}", limit=f"whole, {low} to {high}")
