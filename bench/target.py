"""What a benchmark asks of a server, and what it hears.

Owns the `Target` port and its two values. It knows no wire: skipjoin_target speaks gRPC through the SDK, openai_target HTTP; load drives either.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from ..core.plan import Int32s


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """One request: int32[n] prompt tokens and exactly how many tokens to generate."""

    number: int
    prompt: Int32s
    new_tokens: int


@dataclass(frozen=True, slots=True)
class Answered:
    """How a request fared: when its first and its last token came (monotonic ns), how many tokens, and why it failed if it did.

    `preemptions` and `recomputed_tokens` are the server's own account, None when it gives none.
    """

    first_token_ns: int | None
    end_ns: int
    output_tokens: int
    failure: str | None = None
    preemptions: int | None = None
    recomputed_tokens: int | None = None


class Target(Protocol):
    """A server under load."""

    async def ask(self, asked: Asked) -> Answered:
        """Send one request and follow it to its end. Raises nothing but cancellation: what goes wrong is in the answer."""
        ...

    async def bytes_moved(self) -> int | None:
        """KV bytes the server has moved since it started; None when it does not say."""
        ...

    async def policy(self) -> str | None:
        """The server's scheduling policy; None when it does not say."""
        ...

    async def close(self) -> None:
        """End the connections."""
        ...
