"""The decode batch: who is in it, when each member needs its next page, and how long their contexts
are together.

Owns the members in a stable order and the calendar of page borders, so that an unchanged turn costs
nothing per member. It does not know why somebody is in the batch; the planner rearranges it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...core.cost_model import CostModel
from ...core.plan import NO_APPENDS, NO_DECODE, DecodeBatch, IterationPlan, PageAppends
from ..job_kv import DECODE, OUT, JobKv
from ..ledger import Ledger
from .decision import Decision
from .due_steps import StepCalendar


class RunningBatch:
    """`context_sum` counts, for the next iteration, every member's computed tokens and the one it
    computes.
    """

    def __init__(self, page_tokens: int) -> None:
        self._page_tokens = page_tokens
        self.members: list[JobKv] = []
        self.decode: DecodeBatch = NO_DECODE
        self.context_sum = 0
        self.growth: StepCalendar[JobKv] = StepCalendar()

    def due(self, steps: int) -> list[JobKv]:
        """Members that cross a page border in the iteration after `steps`."""
        bucket = self.growth.peek(steps)
        if not bucket:
            return []
        # A member that left and came back without a step between stands in the bucket twice.
        return list(dict.fromkeys(job for job in bucket if job.stage is DECODE and job.grow_step == steps))

    def repeat(self, ledger: Ledger, cost: CostModel, steps: int, plan_seq: int) -> Decision:
        """The same decode batch again, with the pages that the calendar says."""
        appends = self.append_due(ledger, steps)
        decode_ns = cost.decode_ns(len(self.decode), self.context_sum)
        self.launched(steps)
        plan = IterationPlan(plan_seq, ledger.generation, decode=self.decode, new_pages=appends, predicted_ns=decode_ns)
        return Decision(plan, repeated=True, decode_ns=decode_ns)

    def grow_due(self, ledger: Ledger, steps: int, least_free: int) -> bool:
        """What `repeat` does to the pages; False, and nothing is done, where fewer than
        `least_free` would stay free.
        """
        if self.growth.peek(steps) is None:
            return True
        due = self.due(steps)
        if ledger.device.free - len(due) < least_free:
            return False
        self._grow(due, ledger, steps)
        self.growth.take(steps)
        return True

    def append_due(self, ledger: Ledger, steps: int) -> PageAppends:
        """Give every due member its page; there are enough free ones."""
        due = self.due(steps)
        if not due:
            return NO_APPENDS
        pages = self._grow(due, ledger, steps)
        handles = np.array([job.handle for job in due], dtype=np.int64)
        return PageAppends(handles, np.array(pages, dtype=np.int32))

    def _grow(self, due: Sequence[JobKv], ledger: Ledger, steps: int) -> list[int]:
        """The pages that these get, who are due them together, and together again."""
        pages = ledger.grow_each([job.table for job in due])
        again = steps + self._page_tokens
        for job in due:
            job.grow_step = again
        self.growth.add_all(again, due)
        return pages

    def grown(self, job: JobKv) -> None:
        """A member got the page it was due."""
        job.grow_step += self._page_tokens
        self.growth.add(job.grow_step, job)

    def launched(self, steps: int) -> None:
        """The iteration after `steps` is on its way."""
        self.growth.take(steps)
        self.context_sum += len(self.decode)

    def take_out(self, job: JobKv, steps: int) -> None:
        """A member goes: its counts are settled. `members` is put right by the next `rearrange`."""
        job.settle(steps)
        job.stage = OUT
        self.context_sum -= job.computed + 1

    def rearrange(self, came: list[JobKv], steps: int) -> None:
        """Those that were taken out are gone, `came` stand at the end."""
        page_tokens = self._page_tokens
        self.members = [job for job in self.members if job.stage is DECODE]
        for job in came:
            job.stage = DECODE
            job.since_step = steps
            computed = job.computed
            job.grow_step = grow_step = steps + len(job.table.blocks) * page_tokens - computed
            self.growth.add(grow_step, job)
            self.context_sum += computed + 1
        self.members += came
        if self.members:
            self.decode = DecodeBatch(np.array([job.handle for job in self.members], dtype=np.int64))
        else:
            self.decode = NO_DECODE
