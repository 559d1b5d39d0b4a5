"""Everything that can happen to the engine from outside.

Owns the event values; a turn applies a batch of them at one `now_ns`. They do not know their
carrier: the door sends them over a socket, the simulator and the tests build them by hand.
"""

from __future__ import annotations

from dataclasses import dataclass

from .asked import Asked
from .ids import DEFAULT_TENANT, Handle, TenantId
from .plan import Int32s


@dataclass(frozen=True, slots=True, eq=False)
class Submitted:
    """A claimed job enters the engine.

    `prompt` (int32[prompt_tokens]) is None when its tokens follow later with `PromptArrived`; such
    a job is ranked but not admitted. In the simulator prompts have a length and no tokens, and
    `has_prompt` is true all the same. `generated` are the tokens already in the log (a takeover
    resumes behind them). `asked` is resolved: seed and max_new_tokens are set. `arrival_ns` and
    `deadline_ns` are on the engine's monotonic clock; arrival may lie in the past. `alone` marks a
    crash suspect: nothing else may be in a batch with it. `earlier_output_tokens` is as in
    JobAttributes. `output_tokens` is the true length, known to the simulator only and read by oracle
    policies only.
    """

    handle: Handle
    prompt_tokens: int
    asked: Asked
    arrival_ns: int
    tenant: TenantId = DEFAULT_TENANT
    earlier_output_tokens: int = 0
    prompt: Int32s | None = None
    has_prompt: bool = True
    generated: Int32s | None = None
    deadline_ns: int | None = None
    alone: bool = False
    output_tokens: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class PromptArrived:
    """The tokens that `Submitted` left out."""

    handle: Handle
    prompt: Int32s


@dataclass(frozen=True, slots=True)
class CancelRequested:
    """The job shall end; everything it holds is freed within two iterations. An unknown handle is
    ignored.
    """

    handle: Handle


@dataclass(frozen=True, slots=True)
class PolicyChosen:
    """The operator switches the policy while the engine runs; queued and running jobs are ranked anew.

    `tail` is the dial of a policy that has one, None for the configured one; said of the policy
    that is on, it turns the dial and nothing else.
    """

    policy: str
    tail: float | None = None


@dataclass(frozen=True, slots=True)
class AccountAsked:
    """Answer with an `AccountGiven` for this open job."""

    handle: Handle
    question: int


@dataclass(frozen=True, slots=True)
class SnapshotAsked:
    """Answer with a `SnapshotGiven`: queues by level, KV by residency."""

    question: int


Event = Submitted | PromptArrived | CancelRequested | PolicyChosen | AccountAsked | SnapshotAsked
