"""What the planner decided for one turn, beside the plan itself.

Owns `Decision`: who joins and who leaves the batch, who is charged what, who lost its KV. It does
not know levels or accounts; engine/state turns it into policy calls and effects.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ...core.effects import LevelChanged
from ...core.ids import Handle
from ...core.plan import IterationPlan
from ..job_kv import JobKv


class Decision(NamedTuple):
    """One turn, decided. Times in ns. A named tuple, for every turn makes one of many fields."""

    plan: IterationPlan
    #: The last all-decode batch again: everything but the plan and `decode_ns` is empty.
    repeated: bool = False
    #: The decode part of the iteration.
    decode_ns: int = 0
    prefill_tokens: int = 0
    #: Who was not in the last batch; who was, and is not in this one.
    joined: Sequence[JobKv] = ()
    left: Sequence[JobKv] = ()
    #: Who has its KV complete from this plan on.
    decoding: Sequence[JobKv] = ()
    #: Chunks as job, own time, tokens.
    charged: Sequence[tuple[JobKv, int, int]] = ()
    #: Who lost that many computed tokens.
    recomputed: Sequence[tuple[Handle, int]] = ()
    #: Whose KV begins to move in.
    returning: Sequence[Handle] = ()
    #: Whose prompt is needed, best ranked first.
    asked: Sequence[Handle] = ()
    #: Promotions.
    granted: Sequence[LevelChanged] = ()
    pages_out: int = 0
    pages_in: int = 0
    #: The plan computes nothing, moves nothing, waits for nothing and tells the executor nothing:
    #: it need not be sent.
    idle: bool = False
