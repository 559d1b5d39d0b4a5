"""Policies that rank by what a job is expected to need still, for lengths that are learned while
jobs run: `serpt` and `gittins`.

Owns the age of each job, counted in the bins of `lengths`, and when it is looked at again. Prices
are `demand_table`'s, one a cell of prompt class, quarters of the prompt left and age bin; the
waiting jobs of a cell stand in one line, so new prices cost no job anything. `registry` makes them.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Hashable, Iterator, Sequence
from heapq import merge

from ..core.effects import LevelChanged
from ..core.ids import Handle, Level
from ..core.policy import JobAttributes, Key, Tick
from .account import JobEntry
from .adaptive.demand import Demand
from .adaptive.demand_table import SHARES, DemandTable, Price, class_of
from .lengths.hazards import BINS, EDGES, LengthParams, Lengths, bin_of
from .lines import LinePolicy


class ResidualPolicy(LinePolicy):
    """The base: with preemption, everybody who waits stands in the line of its cell, and cells rank
    by `worth_ns` of their price.
    """

    preempts = True
    lower_may_pass = True

    def __init__(self, demand: Demand, learning: LengthParams | None = None) -> None:
        super().__init__()
        self._cost = demand.cost
        self._lengths = Lengths(learning)
        self._table = DemandTable(demand, self._lengths)
        self._bins: dict[Handle, int] = {}  # the age bin in which a job was last seen

    @abstractmethod
    def worth_ns(self, price: Price) -> int:
        """What of a price ranks a job."""

    # events
    # ---------------------------------------------------------------------------------------------------
    def submitted(self, attributes: JobAttributes, tick: Tick) -> Level:
        """As the base."""
        self._bins[attributes.handle] = bin_of(attributes.generated_tokens)
        return super().submitted(attributes, tick)

    def decoding(self, handle: Handle, tick: Tick) -> None:
        """As the base; the token that came with the prompt may have begun a bin."""
        super().decoding(handle, tick)
        self._look(handle, tick)

    def leave(self, handle: Handle, tick: Tick) -> None:
        """As the base, at the age it has now."""
        self._pass(handle, bin_of(self._jobs[handle].output_tokens(tick)))
        super().leave(handle, tick)

    def removed(self, handle: Handle, tick: Tick, *, finished: bool = True) -> None:
        """As the base; a length that came to its end is learned, and of any other that it was no
        shorter.
        """
        job = self._jobs[handle]
        # The last token was said at the age before it.
        self._pass(handle, bin_of(max(job.output_tokens(tick) - 1, 0)))
        super().removed(handle, tick, finished=finished)
        age_bin = self._bins.pop(handle)
        if finished and self._lengths.ended(self._lengths.bucket(job.attributes.prompt_tokens), age_bin):
            self._lengths.rebuild()
            self._table.clear()

    def advance(self, tick: Tick) -> Sequence[LevelChanged]:
        """Look at the jobs that should have left their bin by now."""
        next_ns = self._crossings.next_ns
        if next_ns is not None and next_ns <= tick.decode_ns:
            for handle in self._crossings.pop_due(tick.decode_ns):
                self._look(handle, tick)
        return ()

    # ranks
    # ----------------------------------------------------------------------------------------------------
    def index(self, job: JobEntry, tick: Tick) -> tuple[int, ...]:
        """Of a running job, as of the bin in which it was last seen."""
        return (1, self._rank_of(self.line(job)), job.attributes.arrival_ns)

    def worsens_in_ns(self, job: JobEntry, tick: Tick) -> int | None:
        """When the bin ends, at the pace of the job's own iterations."""
        age_bin = self._bins[job.attributes.handle]
        if age_bin == BINS - 1:
            return None
        tokens = job.output_tokens(tick)
        step_ns = job.step_ns(tick) or self._cost.decode_ns(1, job.attributes.prompt_tokens + tokens)
        return (EDGES[age_bin + 1] - tokens) * step_ns

    def order(self, tick: Tick) -> Iterator[tuple[Key, Handle]]:
        """The running jobs and the lines, merged."""
        running = sorted(self.key(handle, tick) for handle in self._aged)
        return ((key, Handle(key[-1])) for key in merge(running, *map(self._keys_of, self._lines)))

    def key(self, handle: Handle, tick: Tick) -> Key:
        """(1, price, arrival, handle)."""
        return (*self.index(self._jobs[handle], tick), int(handle))

    def in_line(self, job: JobEntry) -> bool:
        """Whoever waits."""
        return True

    def line(self, job: JobEntry) -> tuple[int, int, int]:
        """The cell: prompt class, quarters of the prompt left, age bin."""
        attributes, left = job.attributes, job.prefill_left_tokens
        quarters = min(-(-left * SHARES // attributes.prompt_tokens), SHARES)
        return class_of(attributes.prompt_tokens), quarters, self._bins[attributes.handle]

    def rank(self, line: Hashable, attributes: JobAttributes, tokens_ahead: int) -> int:
        """The price of the cell."""
        assert isinstance(line, tuple)
        return self._rank_of(line)

    def read(self, tick: Tick) -> None:
        """Nothing: prices change when somebody ends."""

    def _rank_of(self, cell: tuple[int, int, int]) -> int:
        return self.worth_ns(self._table.price(*cell))

    def _look(self, handle: Handle, tick: Tick) -> None:
        job = self._jobs[handle]
        self._pass(handle, bin_of(job.output_tokens(tick)))
        self._watch(handle, job, tick)

    def _pass(self, handle: Handle, age_bin: int) -> None:
        """The job has this age: it left the bins before it alive."""
        before = self._bins[handle]
        if age_bin > before:
            self._lengths.passed(self._lengths.bucket(self._jobs[handle].attributes.prompt_tokens), before, age_bin)
            self._bins[handle] = age_bin
            self.version += 1


class Serpt(ResidualPolicy):
    """Shortest expected remaining demand first: within a factor of five of the best mean on one
    server (Scully, Harchol-Balter and Scheller-Wolf, "Simple near-optimal scheduling for the
    M/G/1", 2020, of its monotone form).
    """

    name = "serpt"

    def worth_ns(self, price: Price) -> int:
        """The expectation."""
        return price.expected_ns


class Gittins(ResidualPolicy):
    """Least demand per chance to end, over the best horizon: the best mean on one server whose
    lengths are known as a distribution.

    Gittins, "Bandit processes and dynamic allocation indices" (1979).
    """

    name = "gittins"

    def worth_ns(self, price: Price) -> int:
        """The index."""
        return price.index_ns
