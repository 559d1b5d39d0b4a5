"""What the KV manager knows of one job: how many tokens, how much of its KV is computed, and its
block table.

Owns the token counts, which for a running decode job are a base plus a difference of steps. It does
not know tokens, levels or times; planner and engine read it, the planner writes it.
"""

from __future__ import annotations

from enum import Enum

from ..core.ids import Handle
from .table import Table


class Stage(Enum):
    """What a job is in the batch that was launched last."""

    OUT = "out"  # not in it
    PREFILL = "prefill"
    DECODE = "decode"


OUT, PREFILL, DECODE = Stage
"""By name, for a turn compares every job with them."""


class JobKv:
    """One open job, for the KV manager. Counts of tokens are exact after `settle`."""

    __slots__ = (
        "admitted",
        "alone",
        "asked",
        "computed",
        "filling",
        "fresh",
        "generated",
        "grow_step",
        "handle",
        "mark",
        "max_new_tokens",
        "prompt_tokens",
        "ready",
        "seen",
        "since_step",
        "stage",
        "table",
        "waited",
    )

    def __init__(
        self, handle: Handle, prompt_tokens: int, max_new_tokens: int, *, generated: int, ready: bool, alone: bool
    ) -> None:
        self.handle = handle
        self.prompt_tokens = prompt_tokens
        self.max_new_tokens = max_new_tokens
        #: Tokens that were emitted.
        self.generated = generated
        #: The prompt has arrived.
        self.ready = ready
        #: A crash suspect: no other job may be in a batch with it.
        self.alone = alone
        #: The executor knows the job.
        self.admitted = False
        #: Tokens that have KV; on launch: that will have it when the launched plans are done.
        self.computed = 0
        #: KV is incomplete, the job needs prefill chunks.
        self.filling = True
        #: Moved in and not run since: no victim.
        self.fresh = False
        #: The prompt was asked for.
        self.asked = False
        self.stage = OUT
        #: The step up to which the counts of a decode member are settled, and the one at which it
        #: needs its next page.
        self.since_step = 0
        self.grow_step = 0
        #: Numbers of the last plans that looked at the job, and that chose it.
        self.seen = 0
        self.mark = 0
        #: Plans that passed over the job, which must run alone.
        self.waited = 0
        self.table = Table()

    @property
    def known(self) -> int:
        """Prompt and generated tokens, exact after `settle`."""
        return self.prompt_tokens + self.generated

    def settle(self, steps: int) -> None:
        """Write what a decode member did since it joined, or since the last call, into the counts."""
        if self.stage is DECODE:
            done = steps - self.since_step
            self.computed += done
            self.generated += done
            self.since_step = steps

    def generated_at(self, steps: int) -> int:
        """Tokens emitted when `steps` iterations with a decode part were launched."""
        return self.generated + steps - self.since_step if self.stage is DECODE else self.generated

    def forget_kv(self) -> None:
        """Everything has to be computed again; the ledger has released the table."""
        self.table = Table()
        self.computed = 0
        self.filling = True
        self.fresh = False
