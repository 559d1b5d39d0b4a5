"""Values and targets for the tests of measurements.

Owns a target that lives in virtual time, a reporter that remembers, and small workloads and
results. It knows no server.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from skipjoin.bench.load.loops import Answered, Asked
from skipjoin.bench.progress import Bar
from skipjoin.core.clock import Clock, ManualClock
from skipjoin.workload.requests import Workload
from skipjoin.workload.statistics import RunResult

MS = 1_000_000
SERVED = (
    *("--executor", "simulated", "--simulated-scale", "0.02", "--max-batch", "4"),
    *("--kv-tokens", "512", "--host-kv-tokens", "8192", "--policy", "skipjoin"),
)
NOTHING = RunResult(
    policy=None,
    requests=0,
    refused=0,
    mean_jct_s=None,
    p50_jct_s=None,
    p95_jct_s=None,
    p99_jct_s=None,
    mean_normalized_latency_s=None,
    mean_ttft_s=None,
    p99_ttft_s=None,
    mean_tpot_s=None,
    output_token_throughput=None,
    makespan_s=None,
    max_slowdown=None,
    preemptions=None,
    bytes_moved=None,
    tokens_recomputed=None,
)


def result(policy: str, **known: float) -> RunResult:
    """A result of which only `known` is known."""
    return replace(NOTHING, policy=policy, **known)  # type: ignore[arg-type]


def workload(
    arrivals_ms: Sequence[int], *, prompt: int = 4, output: int = 3, warmup: int = 0, refused: int = 0
) -> Workload:
    """Equal requests at the given times."""
    count = len(arrivals_ms)
    return Workload(
        name="made up",
        arrival_ns=np.array(arrivals_ms, dtype=np.int64) * MS,
        prompt_tokens=np.full(count, prompt, dtype=np.int32),
        output_tokens=np.full(count, output, dtype=np.int32),
        warmup=warmup,
        refused=refused,
        seed=0,
        recorded=True,
        timed=True,
    )


class VirtualTarget:
    """A `Target` that answers as `answer` says: the first token 2 ms and the last 10 ms after it
    was asked, unless told otherwise.

    It moves 100 bytes a request and keeps who asked when.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        answer: Callable[[Asked, Answered], Answered] = lambda _, usual: usual,
        wait: Callable[[Asked], asyncio.Event | None] = lambda _: None,
        bytes_moved: int | None = 1_000,
        policy: str | None = "skipjoin",
    ) -> None:
        self._clock = clock
        self._answer = answer
        self._wait = wait
        self._bytes = bytes_moved
        self._policy = policy
        self.asked: list[tuple[int, int]] = []
        self.cancelled: list[int] = []

    async def ask(self, asked: Asked) -> Answered:
        """Answer at once, or when the event of `wait` is set."""
        now_ns = self._clock.now_ns()
        self.asked.append((asked.number, now_ns))
        try:
            if (event := self._wait(asked)) is not None:
                await event.wait()
        except asyncio.CancelledError:
            self.cancelled.append(asked.number)
            raise
        if self._bytes is not None:
            self._bytes += 100
        usual = Answered(
            now_ns + 2 * MS, now_ns + 10 * MS, asked.new_tokens, preemptions=1, recomputed_tokens=asked.number
        )
        return self._answer(asked, usual)

    async def bytes_moved(self) -> int | None:
        """What was moved so far."""
        return self._bytes

    async def policy(self) -> str | None:
        """As it was told."""
        return self._policy

    async def close(self) -> None:
        """Nothing to end."""


class Sleeper:
    """A sleep in virtual time that wakes up `late_ms` too late."""

    def __init__(self, clock: ManualClock, late_ms: int = 0) -> None:
        self._clock = clock
        self._late_ns = late_ms * MS

    async def __call__(self, seconds: float) -> None:
        """Let the others run, then move the clock."""
        await asyncio.sleep(0)
        self._clock.advance(round(seconds * 1e9) + self._late_ns)


class Said(Bar):
    """A bar that remembers what it was told."""

    def __init__(self) -> None:
        super().__init__()
        self.notes: list[str] = []
        self.runs: list[tuple[str, int]] = []
        self.ended_jobs = 0
        self.open = False

    def note(self, text: str) -> None:
        """Keep it."""
        self.notes.append(text)

    def begin(self, what: str, jobs: int) -> None:
        """A run starts; the one before must be over."""
        assert not self.open
        self.runs.append((what, jobs))
        self.open = True

    def ended(self, jobs: int) -> None:
        """Count."""
        self.ended_jobs += jobs

    def end(self) -> None:
        """The run is over."""
        self.open = False
