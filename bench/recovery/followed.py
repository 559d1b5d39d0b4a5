"""A client that takes tokens one after the other and notes when each came.

Owns one thread with a job without an end, begun anew when it has one. It does not know when an engine dies; kills asks it how long it had to wait.
"""

from __future__ import annotations

import threading
from itertools import pairwise

from ...client.sync import Client
from ...core.clock import Clock
from ...core.errors import SkipjoinError

PROMPT = "Once upon a time"
LONGEST = 400
"""Tokens of a job: short enough for the context of a small model."""


class Followed:
    """`arrivals`: nanoseconds at which tokens came, in order. `error`: what ended it before its time."""

    def __init__(self, target: str, clock: Clock, seed: int) -> None:
        self._target = target
        self._clock = clock
        self._seed = seed
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.arrivals: list[int] = []
        self.error: SkipjoinError | None = None

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End after the next token, and wait for that."""
        self._stopped.set()
        self._thread.join(30)

    def heard_since(self, since_ns: int) -> bool:
        """Whether a token came after that time."""
        return bool(self.arrivals) and self.arrivals[-1] > since_ns

    def longest_wait_ns(self, since_ns: int) -> int:
        """The longest time between two tokens of which the second came after `since_ns`."""
        times = list(self.arrivals)
        return max(b - a for a, b in pairwise(times) if b > since_ns)

    def _run(self) -> None:
        params = {"max_new_tokens": LONGEST, "ignore_eos": True, "seed": self._seed}
        try:
            with Client(self._target) as client:
                while not self._stopped.is_set():
                    for _ in client.generate(PROMPT, params=params):
                        self.arrivals.append(self._clock.now_ns())
                        if self._stopped.is_set():
                            return
        except SkipjoinError as error:
            self.error = error
