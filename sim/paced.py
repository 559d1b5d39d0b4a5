"""A simulated executor on the wall clock, for `serve --executor simulated`: no model, no torch,
real time.

Owns the sleeping clock and deterministic tokens: a token depends on the job's seed and its position
only, so that a restarted engine continues every stream with the tokens it would have had.
serving/wiring builds it; the engine cannot tell it from a real executor.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ..core.clock import MonotonicClock, sleep_s
from ..core.cost_model import CostModel
from ..core.errors import InvalidSettings
from ..core.executor import ExecutorFacts
from ..core.ids import Handle
from ..core.plan import Int32s
from .executor import SimExecutor

NS = 1e9
LONGEST_SLEEP_NS = 500_000_000
_MULTIPLIER = 0x9E3779B97F4A7C15
_MASK = 2**64 - 1


class SleepingClock(MonotonicClock):
    """The machine's monotonic clock; `move_to` sleeps, and calls `beat` in between when that takes
    long.
    """

    def __init__(self, beat: Callable[[], None] = lambda: None) -> None:
        self._beat = beat

    def move_to(self, now_ns: int) -> None:
        """Sleep until `now_ns`; a time in the past returns at once."""
        while (left_ns := now_ns - self.now_ns()) > 0:
            sleep_s(min(left_ns, LONGEST_SLEEP_NS) / NS)
            if left_ns > LONGEST_SLEEP_NS:
                self._beat()


class SeededTokens:
    """Tokens in [0, vocab_size) from (seed, position), none of `avoid` (the model's end tokens,
    where a job shall not stop early).
    """

    def __init__(self, vocab_size: int, avoid: frozenset[int] = frozenset()) -> None:
        self._allowed = np.asarray([token for token in range(vocab_size) if token not in avoid], dtype=np.int32)
        if len(self._allowed) == 0:
            raise InvalidSettings("The vocabulary has no token to draw.", field="vocab_size", limit="at least 1")
        self._jobs: dict[int, tuple[int, int]] = {}

    def admit(self, handle: Handle, seed: int, prompt_tokens: int) -> None:
        """Remember the job's seed and where its output begins."""
        self._jobs[handle] = (seed, prompt_tokens)

    def drop(self, handle: Handle) -> None:
        """Forget the job."""
        self._jobs.pop(handle, None)

    def draw(self, handles: Sequence[int], known_tokens: Sequence[int]) -> Int32s:
        """int32[n]: one token a job, at position `known_tokens` - prompt tokens."""
        places = np.empty(len(handles), dtype=np.int64)
        for index, (handle, known) in enumerate(zip(handles, known_tokens, strict=True)):
            seed, prompt_tokens = self._jobs[handle]
            places[index] = seeded_number(seed, known - prompt_tokens) % len(self._allowed)
        return self._allowed[places]


def seeded_number(seed: int, position: int) -> int:
    """A 64-bit number from (seed, position): splitmix64 (Steele, Lea, Flood, OOPSLA 2014) of their
    mixture.
    """
    state = (seed * 0xD1342543DE82EF95 + (position + 1) * _MULTIPLIER) & _MASK
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
    return state ^ (state >> 31)


def paced_executor(
    cost: CostModel,
    facts: ExecutorFacts,
    *,
    scale: float = 1.0,
    avoid: frozenset[int] = frozenset(),
    beat: Callable[[], None] = lambda: None,
) -> SimExecutor:
    """An executor that takes `scale` times the predicted time (0: none at all) and draws from
    `facts.vocab_size` tokens but `avoid`. `beat` is called while it sleeps long.

    Raises InvalidSettings.
    """
    if not 0.0 <= scale <= 1000.0:
        raise InvalidSettings(f"The time scale is {scale:g}.", field="scale", limit="0..1000")
    return SimExecutor(cost, facts, SleepingClock(beat), scale=scale, source=SeededTokens(facts.vocab_size, avoid))
