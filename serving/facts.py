"""What the door knows of a started engine.

Owns `EngineFacts`: pools and bounds for the door's checks, words for the start line. It builds
nothing; the engine process sends them in its Ready frame, supervisor, intake and claims read them.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from ..core.cost_model import CostModel
from ..core.errors import InternalError, InvariantViolation, SkipjoinError, by_code
from ..core.executor import ExecutorFacts
from ..cost.exact import cost_of
from ..proto.frames import Ready, StartFailed


@dataclass(frozen=True, slots=True)
class EngineWords:
    """What the door needs besides the executor's own facts; `profile` says where the cost model
    comes from, `costs` is that model.
    """

    max_batch: int
    device: str
    dtype: str
    model_name: str
    profile: str
    costs: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class EngineFacts:
    """A started engine: its executor's pools, its policy, and words for a person."""

    executor: ExecutorFacts
    policy: str
    words: EngineWords

    @property
    def vocab_size(self) -> int:
        """Token ids are 0..vocab_size - 1."""
        return self.executor.vocab_size

    @property
    def device_tokens(self) -> int:
        """Tokens of KV that the device pool holds."""
        return self.executor.device_pages * self.executor.page_tokens

    @property
    def host_tokens(self) -> int:
        """Tokens of KV that the host pool holds."""
        return self.executor.host_pages * self.executor.page_tokens

    @property
    def job_tokens(self) -> int:
        """Prompt and output tokens that one job can have at most."""
        context = self.executor.max_context_tokens
        return self.device_tokens if context is None else min(self.device_tokens, context)

    def cost(self) -> CostModel | None:
        """The profile's cost model, uncorrected, made anew; None when the engine gave none."""
        return None if self.words.costs is None else cost_of(self.words.costs)

    def to_frame(self, incarnation: int, pid: int) -> Ready:
        """As the engine says it."""
        return Ready(incarnation, pid, self.policy, self.executor, json.dumps(asdict(self.words)))

    @classmethod
    def from_frame(cls, frame: Ready) -> EngineFacts:
        """As the door reads it. Raises InvariantViolation."""
        try:
            words = EngineWords(**json.loads(frame.facts_json))
        except (ValueError, TypeError, RecursionError):
            raise InvariantViolation("What an engine says of itself cannot be read.") from None
        return cls(frame.executor, frame.policy, words)


def failure_frame(incarnation: int, error: SkipjoinError) -> StartFailed:
    """An engine's last word."""
    return StartFailed(incarnation, error.code, error.message, error.field, error.limit)


def failure_of(frame: StartFailed) -> SkipjoinError:
    """The error that the last word was."""
    cls = by_code().get(frame.code, InternalError)
    try:
        return cls(frame.message, field=frame.field, limit=frame.limit)
    except TypeError:
        return InternalError(frame.message)
