"""Starvation offers, granted only as fast as the link can bring jobs back.

Owns the one grant that may be outstanding (docs/algorithm.md): with paid moves a promotion that cannot run at once only makes others
wait. It does not know why a job is offered; the planner asks before every plan.
"""

from __future__ import annotations

from collections.abc import Mapping

from ...core.effects import LevelChanged
from ...core.ids import Handle
from ...core.policy import Policy, Tick
from ..ledger import Ledger
from ..sequence import Sequence


class Grants:
    """`outstanding` was granted and has not run since. `drops`: victims cost no host room."""

    def __init__(self, ledger: Ledger, floor_pages: int, *, drops: bool) -> None:
        self._ledger = ledger
        self._floor_pages = floor_pages
        self._drops = drops
        self.outstanding: Sequence | None = None

    def give(self, policy: Policy, seqs: Mapping[Handle, Sequence], tick: Tick) -> list[LevelChanged]:
        """Grant the longest overdue job that could run, if none is on its way and the link is idle."""
        if self.outstanding is not None:
            return []
        for handle in policy.offers():
            seq = seqs[handle]
            if not seq.ready:
                continue
            if seq.table.resident or (not self._ledger.tickets and self._could_come(seq)):
                change = policy.grant(handle, tick)
                if change is not None:
                    self.outstanding = seq
                    return [change]
            break
        return []

    def ran(self, number: int) -> None:
        """Plan `number` is made: the grant is over when its job is in the batch."""
        if self.outstanding is not None and self.outstanding.mark == number:
            self.outstanding = None

    def _could_come(self, seq: Sequence) -> bool:
        """Whether free pages, or what the host takes in exchange, make room for the job."""
        ledger = self._ledger
        missing = ledger.pages_for(seq.known) + self._floor_pages - ledger.device.free
        return missing <= 0 or self._drops or ledger.host.free + ledger.clean >= missing
