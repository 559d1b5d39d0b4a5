"""Kills engines under load and measures how long clients wait.

Owns the order: starts, load, kill, wait until every client has tokens again, next kill. It does not know how a server replaces an engine and finds
the engine among the door's children. The command renders the report.
"""

from __future__ import annotations

import math
import os
import signal
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from ...core.clock import Clock, sleep_s
from ...core.errors import Unavailable
from ..server import OwnServer
from .followed import Followed

ENGINE = b"serving.engine_process"
PATIENCE_S = 120.0
NS = 1e9
P50_S, P99_S, COLD_S, WARM_S = 1.5, 3.0, 15.0, 4.0
"""Targets for the preset `small` on two quiet cores."""


@dataclass(frozen=True, slots=True)
class RecoveryReport:
    """Seconds from starting the server to its start line, `cold` with empty caches, `warm` with those of that start; and for each kill and client
    the longest time between two tokens."""

    model: str
    clients: int
    kills: int
    cold_s: float
    warm_s: float
    waits_s: tuple[float, ...]

    def percentile_s(self, percent: float) -> float:
        """Nearest rank."""
        ranked = sorted(self.waits_s)
        return ranked[max(0, math.ceil(len(ranked) * percent / 100) - 1)]

    @property
    def holds(self) -> bool:
        """Whether every target does."""
        figures = (self.percentile_s(50), self.percentile_s(99), self.cold_s, self.warm_s)
        return all(found <= target for found, target in zip(figures, (P50_S, P99_S, COLD_S, WARM_S), strict=True))


def measure(
    name: str,
    flags: Sequence[str],
    folder: Path,
    clock: Clock,
    *,
    kills: int,
    clients: int,
    pause_s: float,
    progress: Callable[[str], None],
) -> RecoveryReport:
    """Start a server with `flags` twice in `folder`, then kill its engine `kills` times. Raises Unavailable when no tokens come again."""
    cache = {"XDG_CACHE_HOME": str(folder / "cache")}
    progress("cold start")
    began_ns = clock.now_ns()
    with OwnServer(_made(folder / "cold"), flags, environ=cache):
        cold_s = (clock.now_ns() - began_ns) / NS
    progress("warm start")
    began_ns = clock.now_ns()
    with OwnServer(_made(folder / "warm"), flags, environ=cache) as server, ExitStack() as stack:
        warm_s = (clock.now_ns() - began_ns) / NS
        followed = [Followed(server.address, clock, seed) for seed in range(clients)]
        for one in followed:
            one.start()
            stack.callback(one.stop)
        waits: list[float] = []
        _until_heard(followed, began_ns, clock)
        for kill in range(kills):
            sleep_s(pause_s)
            progress(f"kill {kill + 1} of {kills}")
            waits += _after_a_kill(server.pid, followed, clock)
    return RecoveryReport(name, clients, kills, cold_s, warm_s, tuple(waits))


def _after_a_kill(door: int, followed: list[Followed], clock: Clock) -> list[float]:
    """Seconds that each client waited for its next token."""
    killed_ns, dead = clock.now_ns(), _engine_of(door, clock)
    os.kill(dead, signal.SIGKILL)
    while _engine_of(door, clock) == dead:
        sleep_s(0.002)
    # What the dead engine had still sent has come by now, or comes before the new one is ready.
    began_ns = clock.now_ns() + int(0.05 * NS)
    _until_heard(followed, began_ns, clock)
    return [one.longest_wait_ns(killed_ns) / NS for one in followed]


def _until_heard(followed: list[Followed], since_ns: int, clock: Clock) -> None:
    end_ns = clock.now_ns() + int(PATIENCE_S * NS)
    while not all(one.heard_since(since_ns) for one in followed):
        error = next((one.error for one in followed if one.error is not None), None)
        if error is not None:
            raise error
        if clock.now_ns() > end_ns:
            raise Unavailable("No tokens have come for two minutes.")
        sleep_s(0.005)


def _engine_of(door: int, clock: Clock) -> int:
    """The engine's process: the child of the door that says so."""
    end_ns = clock.now_ns() + int(PATIENCE_S * NS)
    while clock.now_ns() < end_ns:
        try:
            children = Path(f"/proc/{door}/task/{door}/children").read_text(encoding="ascii").split()
            for child in children:
                if ENGINE in Path(f"/proc/{child}/cmdline").read_bytes():
                    return int(child)
        except OSError:
            pass
        sleep_s(0.002)
    raise Unavailable("The server has no engine.")


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder
