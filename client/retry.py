"""When a call is tried again, and when it is given up.

Owns `RetryParams` and `Attempts`, one call's history. It knows no gRPC: it is told our errors and
answers how long to wait. Both clients use it.

Only Unavailable is tried again (AIP-194), and the Overloaded of a server that was too busy to look
at the call; a full queue is for the caller to decide about. Every call of this service may be tried
again: a submit carries a request_id. The wait grows exponentially with full jitter ("Exponential
Backoff And Jitter", AWS Architecture Blog, 2015), never below the server's hint. With several
targets the next one is tried at once; the wait comes after a round through all.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from ..core.clock import Clock
from ..core.errors import OPEN_CALLS, DeadlineExceeded, InvalidInput, Overloaded, SkipjoinError, Unavailable

_LONG_S = 10.0
_MOMENT_NS = 50_000_000  # gRPC and we may differ about when a deadline passes


@dataclass(frozen=True, slots=True)
class RetryParams:
    """Waits between rounds: up to `first_s`, doubling, up to `longest_s` (before jitter);
    `give_up_s` without progress ends the call.

    `give_up_s` 0 tries every target once. `on_wait` hears the error and the seconds before each
    wait, so that nobody waits in silence. Raises InvalidInput when a number is negative.
    """

    first_s: float = 0.1
    longest_s: float = 5.0
    give_up_s: float = 60.0
    on_wait: Callable[[SkipjoinError, float], None] | None = None

    def __post_init__(self) -> None:
        for name in ("first_s", "longest_s", "give_up_s"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise InvalidInput(f"{name} must be a number from 0 on.", field=name, limit="0 or more")


class Attempts:
    """The attempts of one call: `remaining_s` before each, `failed` after a failure, `progressed`
    when something arrived.

    `timeout_s` bounds the whole call, all attempts and waits together; None: no bound.
    """

    def __init__(
        self, params: RetryParams, targets: int, timeout_s: float | None, clock: Clock, draw: random.Random
    ) -> None:
        if timeout_s is not None and not 0 < timeout_s < float("inf"):
            raise InvalidInput("timeout_s must be positive.", field="timeout_s", limit="above 0")
        self._params = params
        self._targets = targets
        self._clock = clock
        self._draw = draw
        now_ns = clock.now_ns()
        self._deadline_ns = None if timeout_s is None else now_ns + int(timeout_s * 1e9)
        self._since_ns = now_ns  # of the last progress
        self._attempt_ns = now_ns
        self._failures = 0

    def remaining_s(self) -> float | None:
        """Seconds that the next attempt may take; None: no bound. Raises DeadlineExceeded when none
        are left.
        """
        self._attempt_ns = now_ns = self._clock.now_ns()
        if self._deadline_ns is None:
            return None
        if now_ns >= self._deadline_ns:
            raise DeadlineExceeded("The call's time is over.", field="timeout_s")
        return (self._deadline_ns - now_ns) / 1e9

    @property
    def left_s(self) -> float | None:
        """Seconds that are left of the caller's time, none being 0; None: no bound."""
        return None if self._deadline_ns is None else max(0, self._deadline_ns - self._clock.now_ns()) / 1e9

    @property
    def over(self) -> bool:
        """Whether the caller's time is over, or will be in a moment."""
        return self._deadline_ns is not None and self._clock.now_ns() + _MOMENT_NS >= self._deadline_ns

    def progressed(self) -> None:
        """The server answered something: the count of failures starts anew."""
        self._failures = 0
        self._since_ns = self._clock.now_ns()

    def failed(self, error: SkipjoinError, hint_s: float | None) -> float:
        """Seconds to wait before the next attempt; raises `error` when there shall be none."""
        busy = isinstance(error, Overloaded) and error.field == OPEN_CALLS
        if not isinstance(error, Unavailable) and not busy:
            raise error
        now_ns = self._clock.now_ns()
        if now_ns - self._attempt_ns > _LONG_S * 1e9:
            self.progressed()  # it stood for long: not the same trouble as before
        self._failures += 1
        round_, place = divmod(self._failures, self._targets)
        if place:
            return 0.0
        wait_s = self._draw.random() * min(self._params.longest_s, self._params.first_s * 2.0 ** min(round_ - 1, 30))
        wait_s = max(wait_s, hint_s or 0.0)
        if busy:  # many are told the same at the same time
            wait_s *= 1.0 + self._draw.random()
        again_ns = now_ns + int(wait_s * 1e9)
        if again_ns - self._since_ns > self._params.give_up_s * 1e9:
            raise error
        if self._deadline_ns is not None and again_ns >= self._deadline_ns:
            raise error
        if self._params.on_wait is not None:
            self._params.on_wait(error, wait_s)
        return wait_s
