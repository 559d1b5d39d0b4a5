"""Who has waited too long: deadlines on the wall clock and the offers they become.

Owns the rule of patience and the open offers, longest overdue first. It promotes nobody; the MLFQ policies do, at once (`paper`) or when the
planner grants (`granted`; why promotions are rationed: design/algorithm.md section 1).
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
    """The open offers as a live view, so that a thousand of them cost nothing to hand out; copy it before granting while reading."""

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
    """Deadlines of waiting jobs. `deadlines.next_ns` is the next one that is not offered yet."""

    def __init__(self, params: LadderParams, mode: Starvation) -> None:
        self._params = params
        self.mode = mode
        self.deadlines = Calendar()
        self._open: OrderedDict[Handle, None] = OrderedDict()
        self.offers = Offers(self._open)

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
        self._open.pop(handle, None)

    def offer(self, handles: Sequence[Handle]) -> None:
        """Open offers behind those that stand: their deadlines were later."""
        self._open.update(dict.fromkeys(handles))
