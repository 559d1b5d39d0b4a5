"""The policies that others are compared with and that know no output length, each an index
function.

Owns first come first served (both ways), the caller's priority, least attained service and
processor sharing. They know of a job what its entry says; those whose jobs stand in several lines
are in `lines`, those that are told lengths in `oracles`. `registry` makes them.
"""

from __future__ import annotations

from ..core.ids import Handle, Level
from ..core.policy import JobAttributes, Tick
from .account import JobEntry
from .index import IndexPolicy


class Fcfs(IndexPolicy):
    """First come, first served: continuous batching, run to completion, nobody passes a job that
    does not fit (what vLLM does).
    """

    name = "fcfs"
    lower_may_pass = False
    preempts = False
    swaps = False
    ages = False

    def index(self, job: JobEntry, tick: Tick) -> tuple[int, ...]:
        """Arrival."""
        return (job.attributes.arrival_ns,)


class FcfsSwap(Fcfs):
    """`fcfs`, but the newest job goes to the host when pages run out, and comes back before anybody
    enters (what vLLM did before version 1).
    """

    name = "fcfs-swap"
    swaps = True


class Priority(IndexPolicy):
    """The most urgent first (the smallest priority), then by arrival; who is more urgent takes the
    place of who runs (vLLM's priority scheduling).

    Nothing ages: while more urgent jobs keep coming, the others wait.
    """

    name = "priority"
    ages = False

    def index(self, job: JobEntry, tick: Tick) -> tuple[int, ...]:
        """What the caller said."""
        return (job.attributes.asked.priority, job.attributes.arrival_ns)


class LeastAttainedService(IndexPolicy):
    """Least attained service first, counted in whole slices so that equals take turns, not tokens;
    within a slice by arrival.

    Also called foreground-background; the best order without any length where the hazard falls with
    age (Nuyens and Wierman, "The foreground-background queue: a survey", 2008).
    """

    name = "las"

    def __init__(self, slice_ns: int) -> None:
        super().__init__()
        self._slice_ns = slice_ns

    def index(self, job: JobEntry, tick: Tick) -> tuple[int, ...]:
        """Slices used up."""
        return (job.service_ns(tick) // self._slice_ns, job.attributes.arrival_ns)

    def worsens_in_ns(self, job: JobEntry, tick: Tick) -> int | None:
        """The end of the slice."""
        return self._slice_ns - job.service_ns(tick) % self._slice_ns


class ProcessorSharing(LeastAttainedService):
    """Everybody gets the same share: rounds of a slice each, and who comes joins the round that is
    being served, behind those in it.

    Kleinrock's round robin (1964), with a batch for a processor. Unlike under `las` a newcomer does
    not run until it has caught up.
    """

    name = "ps"

    def __init__(self, slice_ns: int) -> None:
        super().__init__(slice_ns)
        self._joined: dict[Handle, int] = {}  # the round in which a job came

    def submitted(self, attributes: JobAttributes, tick: Tick) -> Level:
        """As the base; the round is that of the best-ranked job."""
        self._joined[attributes.handle] = next((key[0] for key, _ in self.order(tick)), 0)
        return super().submitted(attributes, tick)

    def removed(self, handle: Handle, tick: Tick, *, finished: bool = True) -> None:
        """As the base."""
        super().removed(handle, tick, finished=finished)
        del self._joined[handle]

    def index(self, job: JobEntry, tick: Tick) -> tuple[int, ...]:
        """The round whose slice is not used up."""
        slices, arrival_ns = super().index(job, tick)
        return (self._joined[job.attributes.handle] + slices, arrival_ns)
