"""The base of every policy that is an index function: smaller index, better place.

Owns the bookkeeping (accounts, the sorted waiting jobs, the batch, crossings), so that a policy
says only its index and, if the index of a running job worsens with age, when. It knows no levels;
`baselines` derives from it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from heapq import merge
from typing import ClassVar

from ..core.effects import LevelChanged
from ..core.ids import Handle, Level
from ..core.policy import PLAIN_ADMISSION, JobAttributes, Key, Tick
from .account import JobEntry
from .calendar import Calendar
from .census import Census
from .no_offers import NoOffers
from .ranking import Ranking

ONLY = Level(1)


class IndexPolicy(NoOffers, ABC):
    """Ranks by `(*index, handle)`.

    The index of a waiting job is taken when it arrives and when it leaves the batch, and stands
    still; `next_change_ns` and `reindex` are there for an index that does not. A running job's
    index is taken whenever somebody asks, so it needs no update per turn: reading the order costs
    O(batch) on top of what is read. `ages = False` declares an index that service never changes.
    """

    name: ClassVar[str]
    lower_may_pass: bool = True
    preempts: bool = True
    swaps: bool = True
    moves_are_free: bool = False
    admission = PLAIN_ADMISSION
    ages: ClassVar[bool] = True

    def __init__(self) -> None:
        self.version = 0
        self._jobs: dict[Handle, JobEntry] = {}
        self._keys: dict[Handle, Key] = {}  # of the jobs in the ranking
        self._ranking = Ranking()
        self._aged: set[Handle] = set()  # running and out of the ranking
        self._census = Census()
        self._crossings = Calendar()

    # what a policy says
    # ---------------------------------------------------------------------------------------
    @abstractmethod
    def index(self, job: JobEntry, tick: Tick) -> tuple[int, ...]:
        """The job's place but for the handle; smaller is better."""

    def worsens_in_ns(self, job: JobEntry, tick: Tick) -> int | None:
        """Decode-clock time until the index of a decoding job gets worse; None: it does not."""
        return None

    # events
    # ---------------------------------------------------------------------------------------------------
    def submitted(self, attributes: JobAttributes, tick: Tick) -> Level:
        """The job is ranked among the waiting."""
        handle = attributes.handle
        self._jobs[handle] = JobEntry(attributes, tick)
        self._rank(handle, tick)
        self._census.waits(handle, ONLY, tick.now_ns)
        self.version += 1
        return ONLY

    def join(self, handle: Handle, tick: Tick) -> None:
        """The job runs."""
        self._jobs[handle].join()
        self._census.starts(handle, ONLY)
        if self.ages:
            self._unrank(handle)
            self._aged.add(handle)

    def charge(self, handle: Handle, service_ns: int, computed_tokens: int, tick: Tick) -> None:
        """A chunk; a worse index counts from now on."""
        job = self._jobs[handle]
        if not self.ages:
            job.charge(service_ns, computed_tokens)
            return
        before = self.index(job, tick)
        job.charge(service_ns, computed_tokens)
        if self.index(job, tick) > before:
            self.version += 1

    def decoding(self, handle: Handle, tick: Tick) -> None:
        """The decode clock charges."""
        job = self._jobs[handle]
        job.decode(tick)
        self._watch(handle, job, tick)

    def leave(self, handle: Handle, tick: Tick) -> None:
        """The job waits with the index it has now."""
        self._jobs[handle].leave(tick)
        self._census.stops(ONLY)
        self._crossings.discard(handle)
        self._census.waits(handle, ONLY, tick.now_ns)
        if self.ages:
            self._aged.discard(handle)
            self._rank(handle, tick)

    def removed(self, handle: Handle, tick: Tick, *, finished: bool = True) -> None:
        """The job is gone."""
        if self._jobs.pop(handle).running:
            self._census.stops(ONLY)
        else:
            self._census.waits_no_more(handle, ONLY)
        self._aged.discard(handle)
        self._crossings.discard(handle)
        self._unrank(handle)
        self.version += 1

    def advance(self, tick: Tick) -> Sequence[LevelChanged]:
        """Running jobs whose index worsened move the version."""
        next_ns = self._crossings.next_ns
        if next_ns is not None and next_ns <= tick.decode_ns:
            for handle in self._crossings.pop_due(tick.decode_ns):
                self._watch(handle, self._jobs[handle], tick)
            self.version += 1
        return ()

    def reindex(self, handle: Handle, tick: Tick) -> None:
        """Take a waiting job's index anew."""
        if self._unrank(handle):
            self._rank(handle, tick)
            self.version += 1

    # questions
    # ------------------------------------------------------------------------------------------------
    def order(self, tick: Tick) -> Iterator[tuple[Key, Handle]]:
        """Waiting jobs as ranked, merged with the running ones as they stand now."""
        if not self._aged:
            return ((key, Handle(key[-1])) for key in self._ranking)
        running = sorted(self.key(handle, tick) for handle in self._aged)
        return ((key, Handle(key[-1])) for key in merge(running, self._ranking))

    def key(self, handle: Handle, tick: Tick) -> Key:
        """(*index, handle)."""
        key = self._keys.get(handle)
        return (*self.index(self._jobs[handle], tick), int(handle)) if key is None else key

    def level(self, handle: Handle) -> Level:
        """1; there are no levels."""
        return ONLY

    def next_crossing_ns(self) -> int | None:
        """When the first running job's index worsens."""
        return self._crossings.next_ns

    def depths(self, tick: Tick) -> Sequence[tuple[Level, int, int, int]]:
        """One level."""
        census = self._census
        return [(ONLY, len(self._jobs), census.running(ONLY), census.longest_wait_ns(ONLY, tick.now_ns))]

    # inside
    # ---------------------------------------------------------------------------------------------------
    def _rank(self, handle: Handle, tick: Tick) -> None:
        key = (*self.index(self._jobs[handle], tick), int(handle))
        self._keys[handle] = key
        self._ranking.add(key)

    def _unrank(self, handle: Handle) -> bool:
        """Take a job out of the ranking; answers whether it was there."""
        key = self._keys.pop(handle, None)
        if key is not None:
            self._ranking.remove(key)
        return key is not None

    def _watch(self, handle: Handle, job: JobEntry, tick: Tick) -> None:
        delay_ns = self.worsens_in_ns(job, tick)
        if delay_ns is None:
            self._crossings.discard(handle)
        else:
            self._crossings.set(handle, tick.decode_ns + max(delay_ns, 1))
