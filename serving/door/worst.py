"""The worst that happened to any job of this server.

Owns the longest wait and the largest slowdown since the start, from the one effect stream and the
ends in the log. It knows no metric's name; `metrics.py` shows it, because a mean hides the job that
starved.
"""

from __future__ import annotations

from collections.abc import Callable

from ...core.effects import Finished, Preempted, Resumed, SnapshotGiven, TurnEffects
from ...core.job import JobAccount

AloneNs = Callable[[int, int], int]
"""Latency of a job alone on the machine, from prompt and output tokens."""


class Worst:
    """Only ever grows. A wait is one stretch outside the batch; slowdown is completion time / the
    profile's time of the job alone.
    """

    def __init__(self) -> None:
        self.wait_ns = 0
        self.slowdown = 0.0
        self.alone_ns: AloneNs | None = None
        self._out_since: dict[int, int] = {}

    def engine_ended(self) -> None:
        """Its handles mean nothing any more."""
        self._out_since.clear()

    def on_effects(self, turn: TurnEffects) -> None:
        """One turn: who left the batch, who is back."""
        for effect in turn.effects:
            if isinstance(effect, Preempted):
                self._out_since[effect.handle] = turn.stats.now_ns
            elif isinstance(effect, (Resumed, Finished)):
                since = self._out_since.pop(effect.handle, None)
                if since is not None:
                    self.wait_ns = max(self.wait_ns, turn.stats.now_ns - since)

    def on_end(self, account: JobAccount, prompt_tokens: int, output_tokens: int, *, succeeded: bool) -> None:
        """A job's end."""
        self.wait_ns = max(self.wait_ns, account.queued_ns)
        if succeeded and self.alone_ns is not None:
            alone = self.alone_ns(prompt_tokens, output_tokens)
            self.slowdown = max(self.slowdown, account.jct_ns / alone if alone else 0.0)

    def on_snapshot(self, snapshot: SnapshotGiven) -> None:
        """The waits of this moment count before they end."""
        self.wait_ns = max([self.wait_ns, *(row.oldest_wait_ns for row in snapshot.levels)])
