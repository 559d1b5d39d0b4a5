"""What the planner decided for one turn, beside the plan itself.

Owns `Decision`: who joins and who leaves the batch, who is charged what, who lost its KV. It does not know levels or accounts; engine/state
turns it into policy calls and effects.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ...core.effects import LevelChanged
from ...core.ids import Handle
from ...core.plan import IterationPlan
from ..sequence import Sequence


@dataclass(slots=True)
class Decision:
    """`repeated`: the last all-decode batch again, and every list is empty. Times in ns, `decode_ns` is the decode part of the iteration.

    `joined` were not in the last batch, `left` were and are not in this one; `decoding` have their KV complete from this plan on;
    `charged` are chunks as (job, own time, tokens); `recomputed` lost that many computed tokens; `returning` have a move-in that
    starts; `asked` need their prompts, best ranked first; `granted` are promotions.
    """

    plan: IterationPlan
    repeated: bool = False
    decode_ns: int = 0
    prefill_tokens: int = 0
    joined: list[Sequence] = field(default_factory=list)
    left: list[Sequence] = field(default_factory=list)
    decoding: list[Sequence] = field(default_factory=list)
    charged: list[tuple[Sequence, int, int]] = field(default_factory=list)
    recomputed: list[tuple[Handle, int]] = field(default_factory=list)
    returning: list[Handle] = field(default_factory=list)
    asked: list[Handle] = field(default_factory=list)
    granted: list[LevelChanged] = field(default_factory=list)
    pages_out: int = 0
    pages_in: int = 0
    idle: bool = False
    """The plan computes nothing, moves nothing, waits for nothing and tells the executor nothing: it need not be sent."""
