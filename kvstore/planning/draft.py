"""What is decided of one plan so far.

Owns `Draft`, the only thing that is written while a plan is made but the books themselves. Each
field has one writer, named beside it; `moves` and those beside it are lists that several append to.
`freeze` turns a draft into a `Decision`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ...core.effects import LevelChanged
from ...core.ids import Handle
from ...core.plan import Move, PrefillChunk
from ...core.policy import Key
from ..job_kv import JobKv
from ..table import Table


@dataclass(slots=True)
class Draft:
    """A plan in the making."""

    # by the idle link, before the walk
    granted: list[LevelChanged] = field(default_factory=list)

    # by the walk
    #: Who runs, best first.
    chosen: list[JobKv] = field(default_factory=list)
    #: How many of them were members of the last decode batch, and who of them becomes one now.
    stayed: int = 0
    came: list[JobKv] = field(default_factory=list)
    #: Who wants a chunk, of how many tokens at most, and what that costs in ns.
    prefills: list[tuple[JobKv, int, int]] = field(default_factory=list)
    #: New pages of members: handle, page.
    grown: list[tuple[Handle, int]] = field(default_factory=list)
    #: Who has to be admitted by the executor.
    entered: list[JobKv] = field(default_factory=list)
    #: Whose prompt is missing.
    asked: list[JobKv] = field(default_factory=list)
    #: The first that did not fit.
    blocked: tuple[Key, JobKv] | None = None
    #: Nobody enters any more: whatever gets free is kept for the first that did not fit.
    closed: bool = False
    #: A job waits for a turn of its own: the next turn is planned anew.
    restless: bool = False

    # by walk, room and idle link, in the order in which they decide
    moves: list[Move] = field(default_factory=list)
    #: Who is on its way in.
    returning: list[JobKv] = field(default_factory=list)
    #: Whole tables that the executor has to know.
    tables: list[tuple[Handle, Table]] = field(default_factory=list)
    #: Who lost its KV, and how many computed tokens. By the room.
    recomputed: list[tuple[Handle, int]] = field(default_factory=list)

    # by freeze
    #: Who was not in the last batch; who was, and is not in this one.
    joined: list[JobKv] = field(default_factory=list)
    left: list[JobKv] = field(default_factory=list)
    chunks: list[PrefillChunk] = field(default_factory=list)
    #: The chunks as job, own time in ns, tokens.
    charged: list[tuple[JobKv, int, int]] = field(default_factory=list)
    decode_ns: int = 0

    def again(self) -> Draft:
        """Another attempt, when nobody could run: what is granted and given up is."""
        return Draft(granted=self.granted, recomputed=self.recomputed)
