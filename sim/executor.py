"""An executor without a device: it obeys plans, asks the cost model how long they take, and moves a
clock.

Owns the Executor port's simulated form, for virtual time (a `ManualClock`) and, through `paced`,
for the wall clock. It does not know policies or pages: it keeps of each job how many tokens are
known, which the cost model needs. sim/world and tests drive it through engine/turn.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ..core.clock import Clock
from ..core.cost_model import CostModel
from ..core.errors import InvariantViolation
from ..core.executor import ExecutorFacts
from ..core.ids import Handle
from ..core.outcome import IterationOutcome
from ..core.plan import NO_DECODE, DecodeBatch, Int32s, Int64s, IterationPlan, Move
from .link import Link

SAMPLED = 0
"""The token that everybody emits every time where no source says otherwise."""


class MovableClock(Clock, Protocol):
    """A clock that can be made to reach a time: at once in virtual time, by sleeping on the wall
    clock.
    """

    def move_to(self, now_ns: int) -> None:
        """Return when `now_ns` is reached; a time in the past returns at once."""
        ...


class TokenSource(Protocol):
    """Where sampled tokens come from."""

    def admit(self, handle: Handle, seed: int, prompt_tokens: int) -> None:
        """A job enters."""
        ...

    def drop(self, handle: Handle) -> None:
        """A job leaves."""
        ...

    def draw(self, handles: Sequence[int], known_tokens: Sequence[int]) -> Int32s:
        """int32[n]: the next token of each handle, which has `known_tokens` (prompt and generated)
        so far.
        """
        ...


@dataclass(slots=True)
class _Launched:
    """A plan that is not answered yet. `end_ns` is None until a plan without compute is polled."""

    plan: IterationPlan
    handles: Int64s
    tokens: Int32s
    start_ns: int
    end_ns: int | None


class SimExecutor:
    """Executor port over a cost model. Plans run one after the other, moves run beside them on the
    link.
    """

    def __init__(
        self,
        cost: CostModel,
        facts: ExecutorFacts,
        clock: MovableClock,
        *,
        free_moves: bool = False,
        overlap: bool = True,
        scale: float = 1.0,
        source: TokenSource | None = None,
        on_move: Callable[[Move], None] | None = None,
    ) -> None:
        """`scale` multiplies every predicted time. Without a `source` every token is `SAMPLED`.
        `on_move` sees every move as it starts. Without `overlap` an iteration computes only when
        the moves given up to it have landed.
        """
        self._cost = cost
        self._facts = facts
        self._clock = clock
        self._scale = scale
        self._source = source
        self._on_move = on_move
        self._overlap = overlap
        self._link = Link(cost, facts.page_tokens, free=free_moves, scale=scale)
        self._queue: deque[_Launched] = deque()
        self._busy_until_ns = 0
        self._known: dict[int, int] = {}
        self._batch: DecodeBatch = NO_DECODE
        self._steps = 0  # iterations of `_batch` not yet added to `_known`
        self._context_sum = 0  # known tokens of the batch's members together
        self._zeros = np.zeros(256, dtype=np.int32)

    def start(self) -> ExecutorFacts:
        """The facts as given."""
        return self._facts

    def submit(self, plan: IterationPlan) -> None:
        """Take the plan; its end is known at once, the clock moves in `poll`."""
        start_ns = max(self._clock.now_ns(), self._busy_until_ns)
        for handle in plan.dropped:
            self._drop(handle)
        for admit in plan.admits:
            self._settle()
            self._known[admit.handle] = admit.known_tokens
            if self._source is not None:
                self._source.admit(admit.handle, admit.seed, admit.prompt_tokens)
        if plan.moves:
            self._link.start(plan.moves, start_ns)
            if self._on_move is not None:
                for move in plan.moves:
                    self._on_move(move)
        handles, tokens, predicted_ns = self._compute(plan)
        end_ns = None
        if predicted_ns is not None:
            begin_ns = start_ns if self._overlap else self._link.idle_from_ns(start_ns)
            end_ns = begin_ns + (predicted_ns if self._scale == 1.0 else round(predicted_ns * self._scale))
            self._busy_until_ns = end_ns
        self._queue.append(_Launched(plan, handles, tokens, start_ns, end_ns))

    def poll(self, timeout_ns: int | None) -> IterationOutcome | None:
        """The oldest plan's outcome, moving the clock to its end, or by at most `timeout_ns` and
        None.
        """
        if not self._queue:
            raise InvariantViolation("An executor without a plan was polled.")
        launched = self._queue[0]
        now_ns = self._clock.now_ns()
        end_ns = launched.end_ns
        if end_ns is None:
            landing_ns = self._link.next_landing_ns()
            end_ns = max(launched.start_ns, now_ns if landing_ns is None else landing_ns)
        if timeout_ns is not None and end_ns > now_ns + timeout_ns:
            self._clock.move_to(now_ns + timeout_ns)
            return None
        self._clock.move_to(end_ns)
        self._queue.popleft()
        plan = launched.plan
        return IterationOutcome(
            seq=plan.seq,
            generation=plan.generation,
            started_ns=launched.start_ns,
            ended_ns=end_ns,
            handles=launched.handles,
            tokens=launched.tokens,
            landed=self._link.landed(end_ns),
        )

    @property
    def next_landing_ns(self) -> int | None:
        """When the next move lands; None when none is under way."""
        return self._link.next_landing_ns()

    def ran_on(self, iterations: int, now_ns: int) -> None:
        """The standing batch ran so many iterations more, as predicted, and the last one ended at
        `now_ns`: the clock stands there.

        Nothing may be queued, no move may land meanwhile, and there may be no token source: it
        would not be asked.
        """
        if self._queue or self._source is not None:
            raise InvariantViolation("An executor was spared plans that it had to carry out.")
        self._steps += iterations
        self._context_sum += iterations * len(self._batch)
        self._busy_until_ns = now_ns
        self._clock.move_to(now_ns)

    def close(self) -> None:
        """Forget everything."""
        self._queue.clear()
        self._known.clear()
        self._batch, self._steps, self._context_sum = NO_DECODE, 0, 0
        self._link.clear()

    # the batch
    # ------------------------------------------------------------------------------------------------
    def _compute(self, plan: IterationPlan) -> tuple[Int64s, Int32s, int | None]:
        """Handles and tokens of the outcome, and the predicted time, None of a plan without
        compute. An unchanged decode batch costs O(1) besides its columns.
        """
        handles = plan.decode.handles
        size = len(handles)
        if plan.decode is not self._batch:
            self._settle()
            self._batch = plan.decode
            self._context_sum = sum(self._known_of(handle) for handle in handles.tolist())
        ending: list[Handle] = []
        chunks: list[tuple[int, int]] = []
        if plan.prefills:
            chunks = [(chunk.length, chunk.start) for chunk in plan.prefills]
            ending = [chunk.handle for chunk in plan.prefills if chunk.last]
        predicted_ns = self._cost.iteration_ns(chunks, size, self._context_sum) if size or chunks else None
        if ending:
            handles = np.concatenate((handles, np.asarray(ending, dtype=np.int64)))
        tokens = self._draw(handles)
        if size:
            self._steps += 1
            self._context_sum += size
        for handle in ending:
            self._known[handle] = self._known_of(handle) + 1
        return handles, tokens, predicted_ns

    def _draw(self, handles: Int64s) -> Int32s:
        if self._source is not None:
            numbers = handles.tolist()
            in_batch = len(self._batch.handles)
            known = [
                self._known_of(handle) + (self._steps if place < in_batch else 0)
                for place, handle in enumerate(numbers)
            ]
            return self._source.draw(numbers, known)
        if len(handles) > len(self._zeros):
            self._zeros = np.zeros(2 * len(handles), dtype=np.int32)
        return self._zeros[: len(handles)]

    def _known_of(self, handle: int) -> int:
        try:
            return self._known[handle]
        except KeyError:
            raise InvariantViolation(f"A plan runs job {handle}, which was never admitted or was dropped.") from None

    def _settle(self) -> None:
        """Write the steps of the standing batch into `_known`."""
        if self._steps:
            for handle in self._batch.handles.tolist():
                if handle in self._known:
                    self._known[handle] += self._steps
            self._steps = 0

    def _drop(self, handle: Handle) -> None:
        self._settle()
        self._known.pop(handle, None)
        if self._source is not None:
            self._source.drop(handle)
