"""What a benchmark asks of a server, and the two ways to send it: an open loop by its schedule, a
closed one by so many clients.

Owns the `Target` port, the prompts (random token ids by seed), the schedule, the lag of the
generator and the collection of answers. It knows no wire. The open loop sends every request at its
time, whatever became of the others; latencies count from the *scheduled* time, so a generator that
cannot keep up shows in the figures and is told besides. In the closed loop a request arrives when
its client sends it: throughput is what to read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ...core.clock import Clock
from ...core.plan import Int32s, Int64s
from ...workload.requests import Workload
from ...workload.statistics import JobResults, RunResult, percentile, summarize


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


NS = 1e9
LEAD_NS = 100_000_000  # between the start of a run and its first arrival
MAX_LAG_MS = 25.0
"""A generator whose 99th percentile lag is above this was too slow for its own schedule."""

Sleep = Callable[[float], Awaitable[None]]
Ended = Callable[[int], None]


@dataclass(frozen=True, slots=True, eq=False)
class LoadRun:
    """What came of a workload. Times are int64[n], monotonic ns."""

    workload: Workload
    scheduled_ns: Int64s
    sent_ns: Int64s
    answers: tuple[Answered, ...]
    bytes_moved: int | None
    policy: str | None

    @property
    def lag_ms(self) -> tuple[float, float]:
        """The generator's lag behind its schedule in ms: 99th percentile and largest."""
        lags = (self.sent_ns - self.scheduled_ns) / 1e6
        return percentile(lags, 99) or 0.0, float(lags.max(initial=0.0))

    @property
    def trustworthy(self) -> bool:
        """Whether the generator kept its schedule."""
        return self.lag_ms[0] <= MAX_LAG_MS

    @property
    def failures(self) -> list[str]:
        """Why counted requests failed, one entry each."""
        return [answer.failure for answer in self.answers[self.workload.warmup :] if answer.failure is not None]

    def ends_ns(self) -> list[int]:
        """When each request that succeeded, counted or not, was done."""
        return [answer.end_ns for answer in self.answers if answer.failure is None]

    def results(self, alone_ns: Callable[[int, int], int] | None = None) -> RunResult:
        """The numbers of the counted requests that succeeded.

        `alone_ns(prompt, output)` gives slowdowns their denominator.
        """
        first = self.workload.warmup
        good = [at for at in range(first, len(self.answers)) if self.answers[at].failure is None]
        answers = [self.answers[at] for at in good]
        alone = None
        if alone_ns is not None:
            prompts = self.workload.prompt_tokens[good].tolist()
            alone = [alone_ns(prompt, answer.output_tokens) for prompt, answer in zip(prompts, answers, strict=True)]
        jobs = JobResults(
            arrival_ns=self.scheduled_ns[good],
            first_token_ns=np.array([answer.first_token_ns for answer in answers], dtype=np.int64),
            end_ns=np.array([answer.end_ns for answer in answers], dtype=np.int64),
            output_tokens=np.array([answer.output_tokens for answer in answers], dtype=np.int32),
            alone_ns=None if alone is None else np.array(alone, dtype=np.int64),
            preemptions=_sum([answer.preemptions for answer in answers]),
            bytes_moved=self.bytes_moved,
            tokens_recomputed=_sum([answer.recomputed_tokens for answer in answers]),
        )
        return summarize(self.policy, self.workload.refused, jobs)


def _sum(values: Sequence[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if known and len(known) == len(values) else None


async def offer(
    target: Target,
    workload: Workload,
    requests: Sequence[Asked],
    clock: Clock,
    *,
    clients: int | None = None,
    sleep: Sleep = asyncio.sleep,
    ended: Ended = lambda count: None,
) -> LoadRun:
    """Send every request at its time, or have `clients` send them in order, each the next when it
    is answered; and wait for all answers.

    Leaving early (Ctrl-C) ends those that are open. `ended` hears how many more requests ended.
    """
    policy, moved_before = await target.policy(), await target.bytes_moved()
    sent_ns = np.zeros(len(requests), dtype=np.int64)
    scheduled_ns = sent_ns if clients is not None else workload.arrival_ns + clock.now_ns() + LEAD_NS
    answers: dict[int, Answered] = {}
    waiting = iter(requests)

    async def follow(asked: Asked) -> None:
        sent_ns[asked.number] = clock.now_ns()
        answers[asked.number] = await target.ask(asked)
        ended(1)

    async def client() -> None:
        for asked in waiting:
            await follow(asked)

    async with asyncio.TaskGroup() as group:
        if clients is not None:
            for _ in range(min(clients, len(requests))):
                group.create_task(client())
        else:
            for asked, due_ns in zip(requests, scheduled_ns.tolist(), strict=True):
                # A sleep may return a little early; a request must not.
                while (left_ns := due_ns - clock.now_ns()) > 0:
                    await sleep(left_ns / NS)
                group.create_task(follow(asked))
    moved_after, moved = await target.bytes_moved(), None
    if moved_before is not None and moved_after is not None:
        moved = moved_after - moved_before
    in_order = tuple(answers[at] for at in range(len(requests)))
    return LoadRun(workload, scheduled_ns, sent_ns, in_order, moved, policy)
