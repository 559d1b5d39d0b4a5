"""Policies without preemption whose waiting jobs stand in lines: first come first served in a line,
and the best head of a line is next.

Owns the lines, the rule that who has begun goes before who has not, and two policies: highest
response ratio next, and the token counters of tenants. What changes with time is the rank of a
line; it is read when a job comes, begins or ends, so that no event costs more than a look at the
batch, and the order between two events stands still. `registry` makes them.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Hashable, Iterator
from heapq import merge
from itertools import chain
from typing import ClassVar

from ..core.ids import Handle, Level
from ..core.policy import JobAttributes, Key, Tick
from .account import JobEntry
from .adaptive.demand import Demand
from .index import IndexPolicy
from .ranking import Ranking


class LinePolicy(IndexPolicy):
    """Jobs that have begun first, by arrival; then the lines, merged by `rank`. Ranks are those of
    the last arrival, begin or end.
    """

    preempts = False
    lower_may_pass = False

    def __init__(self) -> None:
        super().__init__()
        self._lines: dict[Hashable, Ranking] = {}  # (arrival, handle) of the jobs that have not begun; none is empty
        self._places: dict[Handle, tuple[Hashable, Key]] = {}

    # what a policy says
    # ---------------------------------------------------------------------------------------
    @abstractmethod
    def line(self, job: JobEntry) -> Hashable:
        """Where a job stands that does."""

    def in_line(self, job: JobEntry) -> bool:
        """Whether a waiting job stands in a line: who has not begun."""
        return not job.begun

    @abstractmethod
    def rank(self, line: Hashable, attributes: JobAttributes, tokens_ahead: int) -> int:
        """Of a job with prompts of `tokens_ahead` tokens before it in its line; smaller is better,
        and it must not get better down the line.
        """

    @abstractmethod
    def read(self, tick: Tick) -> None:
        """Take what `rank` depends on."""

    # the base's
    # -----------------------------------------------------------------------------------------------
    def submitted(self, attributes: JobAttributes, tick: Tick) -> Level:
        """As the base; ranks are read."""
        level = super().submitted(attributes, tick)
        self.read(tick)
        return level

    def join(self, handle: Handle, tick: Tick) -> None:
        """As the base; ranks are read when a job begins."""
        begins = handle in self._places
        super().join(handle, tick)
        if begins:
            self.read(tick)
            self.version += 1

    def removed(self, handle: Handle, tick: Tick, *, finished: bool = True) -> None:
        """As the base; ranks are read."""
        super().removed(handle, tick, finished=finished)
        self.read(tick)

    def index(self, job: JobEntry, tick: Tick) -> tuple[int, ...]:
        """Of a job that has begun."""
        return (0, job.attributes.arrival_ns)

    def order(self, tick: Tick) -> Iterator[tuple[Key, Handle]]:
        """Those that have begun, then the lines."""
        waiting = merge(*(self._keys_of(line) for line in self._lines))
        return chain(super().order(tick), ((key, Handle(key[-1])) for key in waiting))

    def key(self, handle: Handle, tick: Tick) -> Key:
        """(0, arrival, handle), or (1, rank, arrival, handle) before the job has begun: O(line)."""
        place = self._places.get(handle)
        if place is None:
            return super().key(handle, tick)
        return next(key for key in self._keys_of(place[0]) if key[-1] == handle)

    def _rank(self, handle: Handle, tick: Tick) -> None:
        job = self._jobs[handle]
        if not self.in_line(job):
            super()._rank(handle, tick)
            return
        line, place = self.line(job), (job.attributes.arrival_ns, int(handle))
        self._places[handle] = line, place
        self._lines.setdefault(line, Ranking()).add(place)

    def _unrank(self, handle: Handle) -> bool:
        if handle not in self._places:
            return super()._unrank(handle)
        line, place = self._places.pop(handle)
        jobs = self._lines[line]
        jobs.remove(place)
        if not len(jobs):
            del self._lines[line]
        return True

    def _keys_of(self, line: Hashable) -> Iterator[Key]:
        tokens_ahead = 0
        for place in self._lines[line]:
            attributes = self._jobs[Handle(place[-1])].attributes
            yield (1, self.rank(line, attributes, tokens_ahead), *place)
            tokens_ahead += attributes.prompt_tokens


class HighestResponseRatio(LinePolicy):
    """Highest (wait + size) / size next, for a size that is expected: the prompt's demand and that
    of as many tokens as jobs say on average.

    Brinch Hansen, "Short-term scheduling in multiprogramming systems" (1971). A line is a size
    class, a factor of two wide.
    """

    name = "hrrn"
    FIRST_GUESS: ClassVar[int] = 256
    """Output tokens expected while nobody has ended; counts as one job."""

    def __init__(self, demand: Demand) -> None:
        super().__init__()
        self._demand = demand
        self._now_ns = 0
        self._outputs, self._output_tokens = 1, self.FIRST_GUESS

    def removed(self, handle: Handle, tick: Tick, *, finished: bool = True) -> None:
        """As the base; an output that came to its end counts for the mean."""
        if finished:
            self._outputs += 1
            self._output_tokens += self._jobs[handle].output_tokens(tick)
        super().removed(handle, tick, finished=finished)

    def line(self, job: JobEntry) -> int:
        """The power of two above the expected size."""
        tokens, prompt = self._output_tokens // self._outputs, job.attributes.prompt_tokens
        size_ns = self._demand.prefill_ns(prompt, 0) + self._demand.decode_ns(tokens, prompt)
        return 1 << size_ns.bit_length()

    def rank(self, line: Hashable, attributes: JobAttributes, tokens_ahead: int) -> int:
        """Wait over size, in thousandths."""
        assert isinstance(line, int)
        return -((self._now_ns - attributes.arrival_ns) * 1000 // line)

    def read(self, tick: Tick) -> None:
        """The time."""
        self._now_ns = tick.now_ns


class TokenCounters(LinePolicy):
    """The tenant that was served the fewest tokens is next, an output token counting for two of a
    prompt; each tenant's jobs by arrival.

    The virtual token counter of Sheng et al., "Fairness in serving large language models" (OSDI
    2024). A prompt is counted when its job begins, output as it comes. A tenant that had nobody
    waiting starts level with the least served of those that have; counters are kept for good.
    """

    name = "vtc"
    OUTPUT_WEIGHT: ClassVar[int] = 2

    def __init__(self) -> None:
        super().__init__()
        self._counters: dict[Hashable, int] = {}
        self._counted: dict[Handle, int] = {}  # output tokens of each job that has begun
        self._last: Hashable = None

    def submitted(self, attributes: JobAttributes, tick: Tick) -> Level:
        """As the base; the tenant's counter is lifted if it had nobody waiting."""
        self.read(tick)
        counters, tenant = self._counters, attributes.tenant
        if tenant not in self._lines:
            least = min((counters[line] for line in self._lines), default=counters.get(self._last, 0))
            counters[tenant] = max(counters.get(tenant, 0), least)
        return super().submitted(attributes, tick)

    def join(self, handle: Handle, tick: Tick) -> None:
        """As the base; the prompt is counted when the job begins."""
        job = self._jobs[handle]
        if handle in self._places:
            self._last = job.attributes.tenant
            self._counters[self._last] += job.attributes.prompt_tokens
        self._counted.setdefault(handle, job.output_tokens(tick))
        super().join(handle, tick)

    def removed(self, handle: Handle, tick: Tick, *, finished: bool = True) -> None:
        """As the base; its last tokens are counted."""
        self.read(tick)
        self._counted.pop(handle, None)
        super().removed(handle, tick, finished=finished)

    def line(self, job: JobEntry) -> Hashable:
        """The tenant."""
        return job.attributes.tenant

    def rank(self, line: Hashable, attributes: JobAttributes, tokens_ahead: int) -> int:
        """What the counter will be when those ahead have begun."""
        return self._counters[line] + tokens_ahead

    def read(self, tick: Tick) -> None:
        """Count the output since the last time."""
        for handle, counted in self._counted.items():
            job = self._jobs[handle]
            tokens = job.output_tokens(tick)
            if tokens != counted:
                self._counters[job.attributes.tenant] += self.OUTPUT_WEIGHT * (tokens - counted)
                self._counted[handle] = tokens
