"""An engine over the shadow executor, checked after every turn."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from skipjoin.core.clock import ManualClock
from skipjoin.core.effects import Finished, TurnEffects
from skipjoin.core.events import Event
from skipjoin.core.executor import ExecutorFacts
from skipjoin.core.job import FinishReason
from skipjoin.cost.linear import LinearCostModel
from skipjoin.engine.assemble import assemble
from skipjoin.engine.invariants import check
from skipjoin.engine.params import EngineParams
from skipjoin.engine.turn import Turn

from .shadow import VOCABULARY, ShadowExecutor, token_of

COST = LinearCostModel(
    fixed_ns=500_000,
    prefill_token_ns=20_000,
    prefill_pair_ns=50,
    decode_context_ns=100,
    decode_job_ns=10_000,
    move_token_ns=5_000,
)
END = 0
STOP_ID = 1


class World:
    def __init__(
        self,
        policy: str,
        params: EngineParams,
        *,
        device_pages: int,
        host_pages: int,
        page_tokens: int = 4,
        seed: int = 0,
        fail_share: float = 0.0,
        token_bytes: Sequence[bytes] | None = None,
        cost: LinearCostModel = COST,
    ) -> None:
        self.facts = ExecutorFacts(7, device_pages, host_pages, page_tokens, 64, None, VOCABULARY)
        self.clock = ManualClock(1_000)
        self.state = assemble(policy, cost, self.facts, params, end_tokens=frozenset({END}), token_bytes=token_bytes)
        self.executor = ShadowExecutor(self.facts, self.clock, seed, fail_share=fail_share)
        self.turn = Turn(self.state, self.executor, self.clock)
        self.emitted: dict[int, list[int]] = {}
        self.before: dict[int, int] = {}
        self.finished: dict[int, Finished] = {}
        self.log: list[tuple[object, ...]] = []
        self.turns = 0
        self.broken = False

    def step(self, events: Sequence[Event] = ()) -> TurnEffects:
        self.broken = True  # until the turn and its checks are through
        effects = self.turn.step(events)
        self.turns += 1
        self._read(effects)
        check(self.state, self.clock.now_ns())
        self.broken = False
        return effects

    def _read(self, effects: TurnEffects) -> None:
        columns: tuple[tuple[int, ...], ...] = ()
        if effects.tokens is not None:
            columns = tuple(
                zip(
                    effects.tokens.handles.tolist(),
                    effects.tokens.positions.tolist(),
                    effects.tokens.tokens.tolist(),
                    strict=True,
                )
            )
            for handle, position, token in columns:
                assert handle not in self.finished, "a job speaks after its end"
                tokens = self.emitted.setdefault(handle, [])
                assert position == len(tokens) + self.before.get(handle, 0), "no gap and no repeat"
                assert token == token_of(handle, position)
                tokens.append(token)
        for effect in effects.effects:
            if isinstance(effect, Finished):
                assert effect.handle not in self.finished, "one end per job"
                count = len(self.emitted.get(effect.handle, [])) + self.before.get(effect.handle, 0)
                assert effect.output_tokens == count
                self.finished[effect.handle] = effect
        stats = effects.stats
        self.log.append(
            (stats.seq, stats.now_ns, stats.free_pages, stats.pages_out, stats.pages_in, columns, effects.effects)
        )

    def drain(self, limit: int = 4_000) -> None:
        """No more events: every job ends, nothing is left."""
        for _ in range(limit):
            if not self.turn.busy:
                break
            self.step()
        assert not self.state.rows, f"jobs never end: {sorted(self.state.rows)}"
        ledger = self.state.ledger
        assert not ledger.tickets
        assert ledger.device.free == ledger.device.total and ledger.host.free == ledger.host.total
        self.step()
        assert not self.executor.jobs, "the executor forgot every job"


def generated(handle: int, count: int) -> np.ndarray:
    return np.array([token_of(handle, i) for i in range(count)], dtype=np.int32)


def natural_end(handle: int, max_new: int, *, ignore_eos: bool, stop_ids: tuple[int, ...]) -> tuple[int, FinishReason]:
    """How many tokens a job that is left alone emits, and why it stops."""
    for position in range(max_new):
        token = token_of(handle, position)
        if (token == END and not ignore_eos) or token in stop_ids:
            return position + 1, FinishReason.STOP
    return max_new, FinishReason.LENGTH
