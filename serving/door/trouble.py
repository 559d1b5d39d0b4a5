"""What the log hears of a job pool that cannot be written.

Owns the pace: the begin of a trouble is said at once, that it lasts after one minute, two, four and
so on, its end once; one that comes and goes is said once a minute. It writes log lines and decides
nothing; the store tells it.
"""

from __future__ import annotations

import logging

from ...core.clock import Clock

log = logging.getLogger("skipjoin.door")

_MINUTE_NS = 60_000_000_000


class Trouble:
    """One trouble after another, in words."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._since_ns: int | None = None
        self._remind_ns = 0
        self._pause_ns = _MINUTE_NS
        self._last: tuple[str, int] | None = None
        self._quiet = False

    def lasts(self, message: str) -> None:
        """A write failed, the first or one more."""
        now_ns = self._clock.now_ns()
        if self._since_ns is None:
            self._since_ns, self._pause_ns, self._remind_ns = now_ns, _MINUTE_NS, now_ns + _MINUTE_NS
            self._quiet = self._last is not None and self._last[0] == message and now_ns - self._last[1] < _MINUTE_NS
            if not self._quiet:
                log.error("nothing new is accepted and running jobs pause: %s", message)
        elif now_ns >= self._remind_ns:
            self._pause_ns *= 2
            self._remind_ns = now_ns + self._pause_ns
            self._quiet = False
            log.error("for %.0f s nothing could be stored: %s", (now_ns - self._since_ns) / 1e9, message)
        elif self._last is not None and self._last[0] != message and not self._quiet:
            log.error("nothing can be stored, now for another reason: %s", message)
        if not self._quiet:
            self._last = message, now_ns

    def ended(self) -> None:
        """The pool can be written again."""
        if self._since_ns is not None and not self._quiet:
            log.warning("the job pool works again after %.1f s", (self._clock.now_ns() - self._since_ns) / 1e9)
        self._since_ns = None
