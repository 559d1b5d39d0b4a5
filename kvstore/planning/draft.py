"""From a walk to an iteration plan.

Owns the difference between the last batch and this one, the sharing of the prefill budget and the making of the frozen plan. It does not
decide who runs; the planner makes one draft per plan.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from collections.abc import Sequence as Items

import numpy as np

from ...core.cost_model import CostModel
from ...core.ids import Handle
from ...core.plan import NO_APPENDS, Admit, Direction, IterationPlan, Move, PageAppends, PrefillChunk
from ...core.policy import Tick
from ..ledger import Ledger
from ..sequence import DECODE, OUT, PREFILL, Sequence
from .budget import PrefillBudget
from .decision import Decision
from .running import RunningBatch
from .walk import Walk


class Draft:
    """Fills a Decision: `rearrange`, then `prefill`, then `finish`."""

    def __init__(
        self,
        ledger: Ledger,
        running: RunningBatch,
        cost: CostModel,
        budget: PrefillBudget,
        decision: Decision,
        tick: Tick,
    ) -> None:
        self._ledger = ledger
        self._running = running
        self._cost = cost
        self._budget = budget
        self._decision = decision
        self._steps = tick.steps
        self._chunks: list[PrefillChunk] = []

    def rearrange(self, walk: Walk, live: Mapping[Handle, Sequence]) -> None:
        """The decode batch of this plan; the same object when its members are the same."""
        running, decision, number, steps = self._running, self._decision, walk.number, self._steps
        everybody_stayed = walk.stayed == len(running.members)
        if not everybody_stayed:
            gone = [seq for seq in running.members if seq.mark != number or seq.stage != DECODE]
            for seq in gone:
                if seq.stage == DECODE:
                    running.take_out(seq, steps)
                if seq.handle in live:
                    decision.left.append(seq)
        if everybody_stayed and not walk.came:
            return
        for seq in walk.came:
            if seq.stage == OUT:
                decision.joined.append(seq)
        decision.decoding = walk.came
        running.rearrange(walk.came, steps)

    def prefill(
        self, walk: Walk, last: Items[Sequence], live: Mapping[Handle, Sequence], *, lasting: bool
    ) -> list[Sequence]:
        """Chunks in ranking order beside the decode members; answers who got one.

        `last` had one in the last plan. `lasting`: a chunk's KV survives eviction, so one chunk is progress.
        """
        decision, running, budget = self._decision, self._running, self._budget
        page_tokens = self._ledger.page_tokens
        decision.decode_ns = self._cost.decode_ns(len(running.decode), running.context_sum)
        left_ns = budget.room_ns(decision.decode_ns)
        left_tokens = budget.max_tokens
        served: list[Sequence] = []
        chunks = self._chunks
        for seq, length, service_ns in walk.prefills:
            before = seq.computed
            rest = seq.prompt_tokens + seq.generated - before
            # All that is left of the prompt, at the price that the walk asked for: or is there less room by now?
            if length != rest or length > left_tokens or service_ns > left_ns:
                at_least = 0 if served else page_tokens
                length, service_ns = budget.chunk(rest, before, left_ns, left_tokens, at_least=at_least)
                if not length:
                    seq.mark = 0
                    continue
            left_ns -= service_ns
            left_tokens -= length
            ends = length == rest
            chunks.append(PrefillChunk(seq.handle, before, length, ends))
            decision.charged.append((seq, service_ns, length))
            served.append(seq)
            if seq.stage == OUT:
                decision.joined.append(seq)
            seq.stage = PREFILL
            seq.computed += length
            if ends:
                # The launched chunk will emit a token.
                seq.filling = False
                seq.generated += 1
            if ends or lasting:
                seq.fresh = False
        for seq in last:
            if seq.mark != walk.number and seq.handle in live:
                seq.stage = OUT
                decision.left.append(seq)
        decision.prefill_tokens = budget.max_tokens - left_tokens
        return served

    def finish(
        self,
        walk: Walk,
        moves: Items[Move],
        admit: Callable[[Items[Handle]], tuple[Admit, ...]],
        dropped: Items[Handle],
    ) -> None:
        """Freeze the plan."""
        decision, running = self._decision, self._running
        decision.asked = [seq.handle for seq in walk.asked]
        for seq in walk.asked:
            seq.asked = True
        decision.returning = [seq.handle for seq in walk.returning]
        for move in moves:
            if move.direction is Direction.OUT:
                decision.pages_out += len(move.pages)
            else:
                decision.pages_in += len(move.pages)
        for seq in walk.entered:
            seq.admitted = True
        decode = running.decode
        computes = len(decode) > 0 or bool(self._chunks)
        predicted_ns = None
        if computes:
            # A chunk's (tokens, context before) as the cost model wants them.
            pairs = [(chunk.length, chunk.start) for chunk in self._chunks]
            predicted_ns = self._cost.iteration_ns(pairs, len(decode), running.context_sum)
        if len(decode):
            running.launched(self._steps)
        plan = decision.plan
        decision.plan = IterationPlan(
            plan.seq,
            plan.generation,
            decode=decode,
            prefills=tuple(self._chunks),
            admits=admit([seq.handle for seq in walk.entered]),
            tables=self._ledger.block_tables(walk.tables),
            new_pages=_appends(walk.grown),
            moves=tuple(moves),
            dropped=tuple(dropped),
            predicted_ns=predicted_ns,
        )
        decision.idle = not computes and not dropped and not self._ledger.tickets


def _appends(grown: list[tuple[Handle, int]]) -> PageAppends:
    if not grown:
        return NO_APPENDS
    handles, pages = zip(*grown, strict=True)
    return PageAppends(np.array(handles, dtype=np.int64), np.array(pages, dtype=np.int32))
