"""An iteration's plan as bytes, for the ranks of an executor.

Owns `PlanWriter` and `PlanReader`, the two ends of one stream of plans. A batch whose members are
those of the plan before is not sent again: the reader gives the very object it gave before, as
core/plan promises to executors. It knows no socket (executor/ranks) and nothing of what ranks do.
Malformed bytes raise InvariantViolation: both ends are ours.
"""

from __future__ import annotations

import numpy as np
from google.protobuf.message import DecodeError

from ..core.asked import Asked
from ..core.errors import InvalidInput, InvariantViolation
from ..core.ids import Handle, MoveId
from ..core.plan import (
    NO_APPENDS,
    NO_DECODE,
    Admit,
    BlockTable,
    DecodeBatch,
    Direction,
    IterationPlan,
    Move,
    PageAppends,
    PrefillChunk,
)
from . import ranks_pb2 as pb
from .columns import int32_bytes, int32_column, int64_bytes, int64_column
from .terms import sampling_from_wire, sampling_to_wire

_CHUNK_COLUMNS = 4


class PlanWriter:
    """Plans to messages, in the order in which they are carried out."""

    def __init__(self) -> None:
        self._decode = NO_DECODE

    def write(self, plan: IterationPlan) -> pb.RankPlan:
        """The message of a plan. `predicted_ns` stays here: a rank decides nothing."""
        message = pb.RankPlan(seq=plan.seq, generation=plan.generation)
        if plan.decode is self._decode:
            message.same_decode = True
        else:
            message.decode = int64_bytes(plan.decode.handles)
            self._decode = plan.decode
        if plan.prefills:
            message.prefills = int64_bytes(np.array(plan.prefills, dtype=np.int64))
        for admit in plan.admits:
            message.admits.append(_write_admit(admit))
        for table in plan.tables:
            message.tables.add(handle=table.handle, pages=int32_bytes(table.pages))
        if len(plan.new_pages.handles):
            message.append_handles = int64_bytes(plan.new_pages.handles)
            message.append_pages = int32_bytes(plan.new_pages.pages)
        for move in plan.moves:
            message.moves.append(_write_move(move))
        if plan.dropped:
            message.dropped = int64_bytes(np.array(plan.dropped, dtype=np.int64))
        return message


class PlanReader:
    """Messages to plans, in the order in which they were written."""

    def __init__(self) -> None:
        self._decode = NO_DECODE

    def read(self, message: pb.RankPlan) -> IterationPlan:
        """The plan of a message. Raises InvariantViolation."""
        try:
            return self._read(message)
        except (ValueError, InvalidInput, DecodeError) as error:
            raise InvariantViolation("A plan on the link of the ranks is malformed.") from error

    def _read(self, message: pb.RankPlan) -> IterationPlan:
        if not message.same_decode:
            self._decode = DecodeBatch(int64_column(message.decode)) if message.decode else NO_DECODE
        return IterationPlan(
            seq=message.seq,
            generation=message.generation,
            decode=self._decode,
            prefills=_read_prefills(message.prefills),
            admits=tuple(_read_admit(admit) for admit in message.admits),
            tables=tuple(BlockTable(Handle(table.handle), int32_column(table.pages)) for table in message.tables),
            new_pages=_read_appends(message),
            moves=tuple(_read_move(move) for move in message.moves),
            dropped=tuple(Handle(handle) for handle in int64_column(message.dropped).tolist()),
        )


def _write_admit(admit: Admit) -> pb.RankAdmit:
    return pb.RankAdmit(
        handle=admit.handle,
        tokens=int32_bytes(admit.tokens),
        prompt_tokens=admit.prompt_tokens,
        seed=admit.seed,
        sampling=sampling_to_wire(admit.asked.sampling),
    )


def _read_admit(message: pb.RankAdmit) -> Admit:
    tokens = int32_column(message.tokens)
    asked = Asked(sampling_from_wire(message.sampling))
    return Admit(Handle(message.handle), tokens, len(tokens), message.prompt_tokens, asked, message.seed)


def _read_prefills(data: bytes) -> tuple[PrefillChunk, ...]:
    rows = int64_column(data).reshape(-1, _CHUNK_COLUMNS).tolist()
    return tuple(PrefillChunk(Handle(handle), start, length, bool(last)) for handle, start, length, last in rows)


def _read_appends(message: pb.RankPlan) -> PageAppends:
    if not message.append_handles:
        return NO_APPENDS
    return PageAppends(int64_column(message.append_handles), int32_column(message.append_pages))


def _write_move(move: Move) -> pb.RankMove:
    return pb.RankMove(
        move_id=move.move_id,
        out=move.direction is Direction.OUT,
        handle=move.handle,
        pages=int32_bytes(move.pages),
        host_slots=int32_bytes(move.host_slots),
    )


def _read_move(message: pb.RankMove) -> Move:
    return Move(
        MoveId(message.move_id),
        Direction.OUT if message.out else Direction.IN,
        Handle(message.handle),
        int32_column(message.pages),
        int32_column(message.host_slots),
    )
