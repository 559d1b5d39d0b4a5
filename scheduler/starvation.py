"""Who has waited too long: deadlines on the wall clock, the offers they become, and how much of the
time promotions may take.

Owns the rule of patience, the open offers, longest overdue first, and the ration. It promotes
nobody; the MLFQ policies do, at once (`paper`) or when the planner grants (`granted`). Under
overload everybody is overdue, and promoting each in turn would make any ladder first come, first
served; so one job is promoted at a time, and after it has left level 1 nobody is offered for a
multiple of what that took (docs/decisions/0002).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import overload

from ..core.ids import Handle
from .calendar import Calendar
from .params import LadderParams, Starvation


class Offers(Sequence[Handle]):
    """The open offers as a view that follows them, so that a thousand of them cost nothing to hand out; copy it
    before granting while reading.
    """

    def __init__(self, open_offers: OrderedDict[Handle, None]) -> None:
        self._open = open_offers

    def __len__(self) -> int:
        return len(self._open)

    def __contains__(self, handle: object) -> bool:
        return handle in self._open

    def __iter__(self) -> Iterator[Handle]:
        return iter(self._open)

    @overload
    def __getitem__(self, index: int) -> Handle: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Handle]: ...
    def __getitem__(self, index: int | slice) -> Handle | Sequence[Handle]:
        if isinstance(index, slice) or index < 0:
            return tuple(self._open)[index]
        for handle in islice(self._open, index, None):
            return handle
        raise IndexError(index)


class StarvationWatch:
    """Deadlines of waiting jobs, offers and the ration. `deadlines.next_ns` is the next one that is
    not offered yet.
    """

    def __init__(self, params: LadderParams, mode: Starvation) -> None:
        self._params = params
        self.mode = mode
        self.deadlines = Calendar()
        self._open: OrderedDict[Handle, None] = OrderedDict()
        self._offers = Offers(self._open)
        self._promoted: tuple[Handle, int] | None = None
        self._quiet_until_ns: int | None = None

    @property
    def offers(self) -> Sequence[Handle]:
        """Who may be promoted now: nobody while a promoted job is on level 1, nor in the quiet time
        behind it.
        """
        return () if self._promoted is not None or self._quiet_until_ns is not None else self._offers

    @property
    def next_ns(self) -> int | None:
        """The next time at which `offers` changes by itself."""
        deadline_ns, quiet_ns = self.deadlines.next_ns, self._quiet_until_ns
        if deadline_ns is None or quiet_ns is None:
            return quiet_ns if deadline_ns is None else deadline_ns
        return min(deadline_ns, quiet_ns)

    def is_open(self, handle: Handle) -> bool:
        """Whether the job is overdue and not yet promoted."""
        return handle in self._open

    def promoted(self, handle: Handle, now_ns: int) -> None:
        """The job takes the ration."""
        self._promoted = (handle, now_ns)

    def settled(self, handle: Handle, now_ns: int) -> None:
        """The job has left level 1, or ended: if it held the ration, a quiet time begins that keeps
        promotions to their share.
        """
        if self._promoted is not None and self._promoted[0] == handle:
            took_ns = now_ns - self._promoted[1]
            self._promoted = None
            self._quiet_until_ns = now_ns + int(took_ns * (1.0 / self._params.starvation_share - 1.0))

    def speak(self, now_ns: int) -> bool:
        """Whether a quiet time was over by `now_ns`, and is gone."""
        if self._quiet_until_ns is None or self._quiet_until_ns > now_ns:
            return False
        self._quiet_until_ns = None
        return True

    def begin(self, handle: Handle, since_ns: int, service_ns: int) -> None:
        """The job waits since `since_ns` with the attained service it has."""
        if self.mode == "off":
            return
        if self.mode == "paper":
            patience_ns = self._params.paper_alpha_ns
        else:
            patience_ns = int(self._params.starvation_factor * service_ns)
            patience_ns = max(self._params.starvation_floor_ns, patience_ns)
        self.deadlines.set(handle, since_ns + patience_ns)

    def end(self, handle: Handle) -> None:
        """The job waits no more, or its wait is judged anew."""
        self.deadlines.discard(handle)
        if self._open:
            self._open.pop(handle, None)

    def offer(self, handles: Sequence[Handle]) -> None:
        """Open offers behind those that stand: their deadlines were later."""
        self._open.update(dict.fromkeys(handles))
