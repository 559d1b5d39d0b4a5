"""Where both processes of a server log to, how a line looks, and how often the same line may come.

Owns the two formats and the bound on repetition. It decides no message's severity. The door's
command and the engine process call it first.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime

from ..core.clock import Clock, MonotonicClock

TEXT = "%(asctime)s %(levelname)s %(name)s %(message)s"
LINES = 20
"""Lines that one place in the code may log within `PERIOD_NS`."""
PERIOD_NS = 10_000_000_000


class JsonLines(logging.Formatter):
    """A line is a JSON object with the keys `time` (ISO 8601, UTC), `level`, `name`, `message`, and
    `exception` where there is one.
    """

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "name": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


class Repetition(logging.Filter):
    """Lets a place in the code log `LINES` lines in `PERIOD_NS`; its next line after that says how
    many were left out.

    By place and not by text, for a text may hold what a client chose, and there are as many of
    those as clients like.
    """

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock
        self._places: dict[tuple[str, int], tuple[int, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the line is written."""
        now_ns = self._clock.now_ns()
        place = (record.pathname, record.lineno)
        began_ns, count = self._places.get(place, (now_ns, 0))
        left_out = 0
        if now_ns - began_ns >= PERIOD_NS:
            began_ns, count, left_out = now_ns, 0, max(0, count - LINES)
        self._places[place] = (began_ns, count + 1)
        if left_out:
            record.msg = f"{record.getMessage()} ({left_out} lines like this one were left out)"
            record.args = ()
        return count < LINES


def log_to_stderr(log_level: str = "info", form: str = "text", clock: Clock | None = None) -> None:
    """Log from `log_level` on (debug, info, warning, error) to standard error, as `text` or `json`; in
    the place of what was set before.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if form == "json" else logging.Formatter(TEXT))
    handler.addFilter(Repetition(clock or MonotonicClock()))
    logging.basicConfig(handlers=[handler], level=log_level.upper(), force=True)
