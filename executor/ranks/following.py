"""Another rank than the first: carries out what rank 0 sends.

Owns the loop of such a rank: a plan in, the same plan carried out on this rank's part of the model
and of the KV, and word of the moves that landed. Its tokens are not answered: rank 0 has the same.
It starts nothing; serving/worker gives it a started executor.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from ...core.errors import InvariantViolation
from ...core.executor import Executor
from ...core.ids import MoveId
from ...proto import ranks_pb2 as pb
from ...proto.columns import int64_bytes
from ...proto.plans import PlanReader
from .channel import Channel

_LOOK_NS = 1_000_000
"""How soon a move that landed while there was no plan is told: rank 0 may wait for it."""


class RankExecutor(Executor, Protocol):
    """An executor that also tells of moves when it has no plan to answer."""

    def landed(self) -> tuple[MoveId, ...]:
        """Moves that were completed since the last answer."""
        ...


def follow(channel: Channel, executor: RankExecutor) -> None:
    """Carry out plans until rank 0 closes the channel. Raises ChannelClosed then, or what the
    executor raises.
    """
    reader = PlanReader()
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
        if moving and not unanswered:
            landed += executor.landed()
        if landed:
            moving -= len(landed)
            moves = int64_bytes(np.array(landed, dtype=np.int64))
            channel.send(pb.RankFrame(landed=pb.RankLanded(moves=moves)).SerializeToString())


def _plan(data: bytes) -> pb.RankPlan:
    frame = pb.LeaderFrame.FromString(data)
    if frame.WhichOneof("body") != "plan":
        raise InvariantViolation("Rank 0 sent what is no plan to a rank that has started.")
    return frame.plan
