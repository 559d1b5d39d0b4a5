"""How long somebody has owed a word.

Owns one counter: time in which a word was due and none came. It does not know who is listened to
and acts on nothing. The supervisor's watch feeds it; a pause of the listener itself (SIGSTOP, a
machine that sleeps) counts as one interval at most, for what was said meanwhile is read after.
"""

from __future__ import annotations


class Silence:
    """Counts nanoseconds of silence in intervals of about `interval_ns`."""

    def __init__(self, interval_ns: int, now_ns: int) -> None:
        self._interval_ns = interval_ns
        self._looked_ns = now_ns
        self._spoke = True
        self.lasted_ns = 0

    def heard(self) -> None:
        """A word came."""
        self._spoke = True

    def look(self, now_ns: int, *, owed: bool) -> int:
        """Count the time since the last look if a word was `owed` and none came; nanoseconds of
        silence until now.
        """
        passed_ns = min(now_ns - self._looked_ns, 2 * self._interval_ns)
        self._looked_ns = now_ns
        self.lasted_ns = 0 if self._spoke or not owed else self.lasted_ns + passed_ns
        self._spoke = False
        return self.lasted_ns
