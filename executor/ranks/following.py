"""Another rank than the first: carries out what rank 0 sends.

Owns the loop of such a rank: a plan in, the same plan carried out on this rank's part of the model
and of the KV, and word of the moves that landed. Its tokens are not answered: rank 0 has the same.
It starts nothing; serving/worker gives it a started executor.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np

from ...core.clock import Clock, MonotonicClock
from ...core.errors import InvariantViolation
from ...core.executor import Executor
from ...core.ids import MoveId
from ...core.outcome import IterationOutcome
from ...proto import ranks_pb2 as pb
from ...proto.columns import int64_bytes
from ...proto.plans import PlanReader
from .channel import Channel
from .step_meter import StepMeter

_REPORT_NS = 1_000_000_000
_LOOK_NS = 1_000_000
"""How soon a move that landed while there was no plan is told: rank 0 may wait for it."""


class RankExecutor(Executor, Protocol):
    """An executor that also tells of moves when it has no plan to answer."""

    def landed(self) -> tuple[MoveId, ...]:
        """Moves that were completed since the last answer."""
        ...


def follow(
    channel: Channel,
    executor: RankExecutor,
    *,
    memory_bytes: Callable[[], int] = lambda: 0,
    clock: Clock | None = None,
) -> None:
    """Carry out plans until rank 0 closes the channel, and say about every second how that goes;
    `memory_bytes` is asked what the rank takes. Raises ChannelClosed, or what the executor raises.
    """
    reader = PlanReader()
    reports = _Reports(channel, memory_bytes, clock or MonotonicClock())
    unanswered = 0
    moving = 0
    while True:
        data = channel.receive(_LOOK_NS if moving or unanswered else None)
        if data is not None:
            plan = reader.read(_plan(data))
            executor.submit(plan)
            unanswered += 1
            moving += len(plan.moves)
        landed: list[MoveId] = []
        while unanswered and (outcome := executor.poll(0)) is not None:
            unanswered -= 1
            landed += outcome.landed
            reports.answered(outcome)
        if moving and not unanswered:
            landed += executor.landed()
        if landed:
            moving -= len(landed)
            moves = int64_bytes(np.array(landed, dtype=np.int64))
            channel.send(pb.RankFrame(landed=pb.RankLanded(moves=moves)).SerializeToString())


class _Reports:
    """What rank 0 hears of this rank's steps."""

    def __init__(self, channel: Channel, memory_bytes: Callable[[], int], clock: Clock) -> None:
        self._channel = channel
        self._memory_bytes = memory_bytes
        self._clock = clock
        self._steps = StepMeter()
        self._due_ns = 0

    def answered(self, outcome: IterationOutcome) -> None:
        """A plan was carried out."""
        self._steps.add(outcome.ended_ns - outcome.started_ns)
        now_ns = self._clock.now_ns()
        if now_ns >= self._due_ns:
            self._due_ns = now_ns + _REPORT_NS
            report = pb.RankReport(memory_bytes=self._memory_bytes(), step_ns=self._steps.median_ns)
            self._channel.send(pb.RankFrame(report=report).SerializeToString())


def _plan(data: bytes) -> pb.RankPlan:
    frame = pb.LeaderFrame.FromString(data)
    if frame.WhichOneof("body") != "plan":
        raise InvariantViolation("Rank 0 sent what is no plan to a rank that has started.")
    return frame.plan
