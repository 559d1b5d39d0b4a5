"""Where the requests of a trace come from: whose they are, and which conversation they go on with.

Owns both columns and how a conversation is recognised by the blocks of its prompts. It does not
know files nor what anybody infers from it: `formats` fills it while it reads, `requests` draws rows
of it, the simulator hands each row to the engine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ..core.ids import DEFAULT_TENANT, TenantId
from ..core.plan import Int32s, Int64s

LEAST_BLOCKS = 2
"""Prompts that share one block share a system prompt; from two on they are turns of one
conversation (or as good as that).
"""


@dataclass(frozen=True, slots=True, eq=False)
class Origins:
    """Per request: its tenant, and the output tokens of the newest earlier answer in its
    conversation, int32[n], 0 where there is none.
    """

    tenants: tuple[TenantId, ...]
    earlier_output_tokens: Int32s

    @classmethod
    def unknown(cls, count: int) -> Origins:
        """One tenant, no conversations."""
        return cls((DEFAULT_TENANT,) * count, np.zeros(count, dtype=np.int32))

    def take(self, rows: Int64s) -> Origins:
        """These rows, in this order."""
        return Origins(tuple(self.tenants[row] for row in rows.tolist()), self.earlier_output_tokens[rows])


@dataclass(slots=True)
class Conversations:
    """Prompts seen so far as a tree of blocks. Whoever chats sends the last answer back within the
    prompt, so its length is no secret.
    """

    _children: dict[tuple[int, str], int] = field(default_factory=dict)
    _newest: dict[int, int] = field(default_factory=dict)

    def add(self, blocks: Sequence[str], output_tokens: int) -> int:
        """The output of the newest earlier request that shares the longest beginning with this one,
        0 if none shares enough; then note this one.
        """
        node = earlier = 0
        for depth, block in enumerate(blocks, start=1):
            node = self._children.setdefault((node, block), len(self._children) + 1)
            if depth >= LEAST_BLOCKS:
                earlier = self._newest.get(node, earlier)
                self._newest[node] = output_tokens
        return earlier
