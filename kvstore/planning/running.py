"""The decode batch: who is in it, when each member needs its next page, and how long their contexts are together.

Owns the members in a stable order and the calendar of page borders, so that an unchanged turn costs nothing per member. It does not know
why somebody is in the batch; the planner rearranges it.
"""

from __future__ import annotations

import numpy as np

from ...core.cost_model import CostModel
from ...core.plan import NO_APPENDS, NO_DECODE, DecodeBatch, IterationPlan, PageAppends
from ..ledger import Ledger
from ..sequence import DECODE, OUT, Sequence
from .decision import Decision
from .due_steps import StepCalendar


class RunningBatch:
    """`context_sum` counts, for the next iteration, every member's computed tokens and the one it computes."""

    def __init__(self, page_tokens: int) -> None:
        self._page_tokens = page_tokens
        self.members: list[Sequence] = []
        self.decode: DecodeBatch = NO_DECODE
        self.context_sum = 0
        self.growth: StepCalendar[Sequence] = StepCalendar()

    def due(self, steps: int) -> list[Sequence]:
        """Members that cross a page border in the iteration after `steps`."""
        bucket = self.growth.peek(steps)
        if not bucket:
            return []
        # A member that left and came back without a step between stands in the bucket twice.
        return list(dict.fromkeys(seq for seq in bucket if seq.stage == DECODE and seq.grow_step == steps))

    def repeat(self, ledger: Ledger, cost: CostModel, steps: int, plan_seq: int) -> Decision:
        """The same decode batch again, with the pages that the calendar says."""
        appends = self.append_due(ledger, steps)
        decode_ns = cost.decode_ns(len(self.decode), self.context_sum)
        self.launched(steps)
        plan = IterationPlan(plan_seq, ledger.generation, decode=self.decode, new_pages=appends, predicted_ns=decode_ns)
        return Decision(plan, repeated=True, decode_ns=decode_ns)

    def grow_due(self, ledger: Ledger, steps: int, least_free: int) -> bool:
        """What `repeat` does to the pages; False, and nothing is done, where fewer than `least_free` would stay free."""
        if self.growth.peek(steps) is None:
            return True
        due = self.due(steps)
        if ledger.device.free - len(due) < least_free:
            return False
        for seq in due:
            ledger.grow_by_one(seq.table)
            self.grown(seq)
        self.growth.take(steps)
        return True

    def append_due(self, ledger: Ledger, steps: int) -> PageAppends:
        """Give every due member its page; there are enough free ones."""
        due = self.due(steps)
        if not due:
            return NO_APPENDS
        pages: list[int] = []
        for seq in due:
            pages.append(ledger.grow_by_one(seq.table))
            self.grown(seq)
        handles = np.array([seq.handle for seq in due], dtype=np.int64)
        return PageAppends(handles, np.array(pages, dtype=np.int32))

    def grown(self, seq: Sequence) -> None:
        """A member got the page it was due."""
        seq.grow_step += self._page_tokens
        self.growth.add(seq.grow_step, seq)

    def launched(self, steps: int) -> None:
        """The iteration after `steps` is on its way."""
        self.growth.take(steps)
        self.context_sum += len(self.decode)

    def take_out(self, seq: Sequence, steps: int) -> None:
        """A member goes: its counts are settled. `members` is put right by the next `rearrange`."""
        seq.settle(steps)
        seq.stage = OUT
        self.context_sum -= seq.computed + 1

    def rearrange(self, came: list[Sequence], steps: int) -> None:
        """Those that were taken out are gone, `came` stand at the end."""
        page_tokens = self._page_tokens
        self.members = [seq for seq in self.members if seq.stage == DECODE]
        for seq in came:
            seq.stage = DECODE
            seq.since_step = steps
            computed = seq.computed
            seq.grow_step = grow_step = steps + len(seq.table.blocks) * page_tokens - computed
            self.growth.add(grow_step, seq)
            self.context_sum += computed + 1
        self.members += came
        if self.members:
            self.decode = DecodeBatch(np.array([seq.handle for seq in self.members], dtype=np.int64))
        else:
            self.decode = NO_DECODE

    def clear(self) -> None:
        """Nobody is in the batch."""
        self.members = []
        self.decode = NO_DECODE
        self.context_sum = 0
        self.growth.clear()
