"""What an operator may set about the engine's turn.

Owns `EngineParams`, which checks itself. It does not know where values come from: the settings of
serve, the flags of simulate and the arguments of `LLM` fill it, engine/assemble reads it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from ..core.errors import InvalidSettings
from ..kvstore.params import KvParams
from ..scheduler.adaptive.head_start import DEFAULT_TAIL, scale_of
from ..scheduler.params import LadderParams, check_starvation

MOST_ITERATION_MS = 60_000


@dataclass(frozen=True, slots=True)
class EngineParams:
    """Limits of an iteration and the parameters of policy and KV manager.

    `max_batch` counts decode and prefill members together, `max_prefill_tokens` is a hard cap (the
    budget in time usually binds first). `iteration_ms`: prompts may stretch an iteration to so
    long, or to four level-1 quanta or twice its decode part where those are longer. `tail` is the
    dial of `adaptive`: 0 for the lowest mean, 1 for the safest tail. `run_ahead`: an unchanged
    batch is launched again before its tokens are known, for an executor that computes while the
    host goes on. `validate_every_turn` checks after every turn that the books agree, which is slow.
    `preempt_every_turn` is a debug mode: no job runs two turns in a row while another
    can. `plan_every_turn` switches the unchanged-turn fast path off. Raises InvalidSettings.
    """

    max_batch: int = 64
    max_prefill_tokens: int = 2048
    iteration_ms: float = 75.0
    starvation: Literal["off", "granted", "paper"] = "granted"
    kv: KvParams = field(default_factory=KvParams)
    ladder: LadderParams | None = None
    tail: float = DEFAULT_TAIL
    run_ahead: bool = False
    preempt_every_turn: bool = False
    plan_every_turn: bool = False
    validate_every_turn: bool = False

    def __post_init__(self) -> None:
        _whole("max_batch", self.max_batch, 1, 1 << 16)
        _whole("max_prefill_tokens", self.max_prefill_tokens, 1, 1 << 20)
        if not 0 <= self.iteration_ms <= MOST_ITERATION_MS:
            raise InvalidSettings(
                f"iteration_ms is {self.iteration_ms!r}.", field="iteration_ms", limit=f"0 to {MOST_ITERATION_MS}"
            )
        check_starvation(self.starvation)
        scale_of(self.tail)


def _whole(field_name: str, value: int, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise InvalidSettings(f"{field_name} is {value!r}.", field=field_name, limit=f"whole, {low} to {high}")
