"""The policies that others are compared with, each an index function.

Owns `fcfs` and `srpt-oracle`. They know of a job what its entry says; `registry` makes them.
"""

from __future__ import annotations

from ..core.errors import InvalidSettings
from ..core.ids import Level
from ..core.ports import JobFacts, Tick
from .account import JobEntry
from .demand import Demand
from .index import IndexPolicy


class Fcfs(IndexPolicy):
    """First come, first served: continuous batching, run to completion, nobody passes a job that does not fit (what vLLM does)."""

    name = "fcfs"
    lower_may_pass = False
    preempts = False
    ages = False

    def index(self, job: JobEntry, tick: Tick) -> tuple[int, ...]:
        """Arrival."""
        return (job.facts.arrival_ns,)


class SrptOracle(IndexPolicy):
    """Shortest remaining demand first with exact output lengths and free moves: a yardstick for the simulator, refused by `serve`."""

    name = "srpt-oracle"
    moves_are_free = True

    def __init__(self, demand: Demand) -> None:
        super().__init__()
        self._demand = demand

    def submitted(self, facts: JobFacts, tick: Tick) -> Level:
        """As the base, but the output length must be known. Raises InvalidSettings."""
        if facts.output_tokens is None:
            raise InvalidSettings(
                "srpt-oracle needs every job's output length, which only a trace knows; use it with simulate.",
                field="policy",
            )
        return super().submitted(facts, tick)

    def index(self, job: JobEntry, tick: Tick) -> tuple[int, ...]:
        """Demand of what is left of prompt and output."""
        facts, left = job.facts, job.prefill_left_tokens
        total = facts.output_tokens or 0
        done = job.output_tokens(tick)
        # The chunk that ends a prefill emits a token of its own.
        decodes = total - done - (1 if job.prefilling else 0)
        context = facts.prompt_tokens + done
        return (self._demand.prefill_ns(left, max(context - left, 0)) + self._demand.decode_ns(decodes, context),)
