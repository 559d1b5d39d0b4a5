"""What a benchmark asks of a server, and what it hears.

Owns the `Target` port, its two values, and the prompts: random token ids by seed, the same for
every target and policy. It knows no wire: `skipjoin_target` speaks gRPC, `openai_target` HTTP.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ...core.plan import Int32s
from ...workload.requests import Workload


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """One request: int32[n] prompt tokens and exactly how many tokens to generate."""

    number: int
    prompt: Int32s
    new_tokens: int


@dataclass(frozen=True, slots=True)
class Answered:
    """How a request fared."""

    first_token_ns: int | None
    end_ns: int
    output_tokens: int
    #: None: the request succeeded.
    failure: str | None = None
    #: The server's own account; None when it gives none.
    preemptions: int | None = None
    recomputed_tokens: int | None = None


class Target(Protocol):
    """A server under load."""

    async def ask(self, asked: Asked) -> Answered:
        """Follow one request to its end. What goes wrong is in the answer."""
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


def requests_of(workload: Workload, vocab_size: int) -> list[Asked]:
    """One `Asked` for each request, in order of arrival; token ids in [0, vocab_size)."""
    generator = np.random.Generator(np.random.PCG64([workload.seed, 3]))
    lengths = zip(workload.prompt_tokens.tolist(), workload.output_tokens.tolist(), strict=True)
    return [
        Asked(number, (generator.random(tokens) * vocab_size).astype(np.int32), new_tokens)
        for number, (tokens, new_tokens) in enumerate(lengths)
    ]
