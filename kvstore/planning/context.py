"""What one plan is made from.

Owns `Rules`, fixed for an engine's life, and `TurnContext`, the inputs of one plan. Nothing here is
rebound while a plan is made: what is decided goes into the plan's `Draft`, what happens to jobs and
pages goes into the `Books`. The planner makes a context per plan; walk, room, idle link and freeze
read it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

from ...core.cost_model import CostModel
from ...core.ids import Handle
from ...core.policy import Key, Policy, Tick
from ..job_kv import OUT, JobKv
from ..params import KvParams
from .books import Books
from .budget import PrefillBudget


@dataclass(frozen=True, slots=True)
class Rules:
    """How this engine plans."""

    cost: CostModel
    kv: KvParams
    budget: PrefillBudget
    #: Places in a batch, decode and prefill members together.
    max_batch: int
    #: A debug mode: no job runs two turns in a row while another can.
    alternate: bool = False
    #: An unchanged turn is planned all the same.
    plan_every_turn: bool = False


@dataclass(frozen=True, slots=True)
class TurnContext:
    """The inputs of one plan, attempt `number` to make one since the start of the engine."""

    rules: Rules
    books: Books
    policy: Policy
    tick: Tick
    number: int
    plan_seq: int
    #: Nothing changed since the last plan: nobody enters.
    calm: bool
    #: The job that must run alone and has waited long enough to go first.
    suspect: JobKv | None
    #: Victims go to the host; else they are computed again.
    swaps: bool

    @property
    def floor_pages(self) -> int:
        """Pages that stay free when a job enters."""
        return self.rules.kv.floor(self.books.ledger.device.total, swaps=self.swaps)

    def kept_places(self) -> int:
        """Places kept for members of the last batch; 0 where a better job may take them."""
        if self.policy.preempts:
            return 0
        return sum(job.stage is not OUT for job in chain(self.books.running.members, self.books.prefilling))

    # ranking --------------------------------------------------------------------------------------
    def rank(self, job: JobKv) -> Key:
        """The job's place in the order of `ranked`."""
        if job is self.suspect:
            return ()
        key = self.policy.key(job.handle, self.tick)
        return (int(job.stage is not OUT), *key) if self.rules.alternate else key

    def ranked(self) -> Iterator[tuple[Key, Handle]]:
        """All jobs, best first, lazily."""
        order = self.policy.order(self.tick)
        if self.rules.alternate:
            order = self._last_batch_last(list(order))
        return order if self.suspect is None else chain([((), self.suspect.handle)], order)

    def _last_batch_last(self, order: list[tuple[Key, Handle]]) -> Iterator[tuple[Key, Handle]]:
        for was_in_batch in (False, True):
            for key, handle in order:
                if (self.books.jobs[handle].stage is not OUT) == was_in_batch:
                    yield (int(was_in_batch), *key), handle
