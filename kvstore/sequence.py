"""What the KV manager knows of one job: how many tokens, how much of its KV is computed, and its block table.

Owns the token counts, which for a running decode job are a base plus a difference of steps. It does not know tokens, levels or times;
planner and engine read it, the planner writes it.
"""

from __future__ import annotations

from ..core.ids import Handle
from .table import Table

OUT, PREFILL, DECODE = 0, 1, 2
"""Stage of a job in the batch that was launched last."""


class Sequence:
    """One live job.

    `computed` tokens have KV (on launch: will have when the launched plans are done), `generated` tokens were emitted; both are exact
    after `settle`. `filling`: KV is incomplete, the job needs prefill chunks. `ready`: the prompt has arrived. `admitted`: the executor
    knows the job. `fresh`: moved in and not run since, no victim. `grow_step`: the step at which a decode member needs its next page.
    `seen` and `mark` are the numbers of the last plans that looked at the job and that chose it; `waited` counts plans that passed
    over a job that must run alone.
    """

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
        self.generated = generated
        self.ready = ready
        self.alone = alone
        self.admitted = False
        self.computed = 0
        self.filling = True
        self.fresh = False
        self.asked = False
        self.stage = OUT
        self.since_step = 0
        self.grow_step = 0
        self.seen = 0
        self.mark = 0
        self.waited = 0
        self.table = Table()

    @property
    def known(self) -> int:
        """Prompt and generated tokens, exact after `settle`."""
        return self.prompt_tokens + self.generated

    def settle(self, steps: int) -> None:
        """Write what a decode member did since it joined, or since the last call, into the counts."""
        if self.stage == DECODE:
            done = steps - self.since_step
            self.computed += done
            self.generated += done
            self.since_step = steps

    def generated_at(self, steps: int) -> int:
        """Tokens emitted when `steps` iterations with a decode part were launched."""
        return self.generated + steps - self.since_step if self.stage == DECODE else self.generated

    def forget_kv(self) -> None:
        """Everything has to be computed again; the ledger has released the table."""
        self.table = Table()
        self.computed = 0
        self.filling = True
        self.fresh = False
