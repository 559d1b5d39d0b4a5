"""`skipjoin bench recovery`: starts, and how soon tokens come after engines are killed under load.

Owns the clients and the order: starts, load, kill, wait until every client has tokens again, next
kill. It does not know how a server replaces an engine, and finds the engine among the door's
children. It ends with 0 when every target held where they apply.
"""

from __future__ import annotations

import argparse
import math
import os
import signal
import tempfile
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

from ...client.sync import Client
from ...console.json_flag import add_json_flag
from ...core.clock import Clock, MonotonicClock, sleep_s
from ...core.errors import SkipjoinError, Unavailable
from ...model.source.model_place import find_model
from ..cached_model import ensure_model
from ..figures import held
from ..flags import Flags, check_bounds
from ..json_file import write_json
from ..load.process import OwnServer
from ..progress import Bar

ENGINE = b"serving.worker.engine_process"
PATIENCE_S = 120.0
NS = 1e9
P50_S, P99_S, COLD_S, WARM_S = 1.5, 3.0, 15.0, 4.0
"""Targets for the preset `small` on two quiet cores."""
PROMPT = "Once upon a time"
LONGEST = 400
"""Tokens of a job: short enough for the context of a small model."""


@dataclass(frozen=True, slots=True)
class Load:
    """How many kills, with how many clients, and for how long tokens come between two of them."""

    kills: int
    clients: int
    pause_s: float


@dataclass(frozen=True, slots=True)
class RecoveryReport:
    """What was measured."""

    model: str
    clients: int
    kills: int
    #: From starting the server to its start line, with empty caches.
    cold_s: float
    #: The same with the caches of that start.
    warm_s: float
    #: For each kill and client the longest time between two tokens.
    waits_s: tuple[float, ...]

    def percentile_s(self, percent: float) -> float:
        """Nearest rank."""
        ranked = sorted(self.waits_s)
        return ranked[max(0, math.ceil(len(ranked) * percent / 100) - 1)]

    def figures(self) -> list[tuple[str, float, float | None]]:
        """What it is, seconds, the target."""
        return [
            ("cold start", self.cold_s, COLD_S),
            ("warm start", self.warm_s, WARM_S),
            ("next token after a kill, p50", self.percentile_s(50), P50_S),
            ("next token after a kill, p99", self.percentile_s(99), P99_S),
            ("next token after a kill, longest", max(self.waits_s), None),
        ]

    @property
    def holds(self) -> bool:
        return all(held(found, target, at_most=True) is not False for _, found, target in self.figures())


class TokenWatch:
    """A client on a thread of its own that takes job after job and notes when each token came."""

    def __init__(self, target: str, clock: Clock, seed: int) -> None:
        self._target = target
        self._clock = clock
        self._seed = seed
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        #: Nanoseconds, in order.
        self.arrivals: list[int] = []
        #: What ended it before its time.
        self.error: SkipjoinError | None = None

    def start(self) -> None:
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


def measure(
    name: str, flags: Sequence[str], folder: Path, clock: Clock, load: Load, progress: Callable[[str], None]
) -> RecoveryReport:
    """Start a server with `flags` twice in `folder`, then kill its engine again and again.

    Raises Unavailable when no tokens come again.
    """
    cache = {"XDG_CACHE_HOME": str(folder / "cache")}

    def server(kind: str) -> OwnServer:
        progress(f"{kind} start")
        (folder / kind).mkdir()
        return OwnServer(folder / kind, flags, environ=cache)

    began_ns = clock.now_ns()
    with server("cold"):
        cold_s = (clock.now_ns() - began_ns) / NS
    began_ns = clock.now_ns()
    with server("warm") as warm, ExitStack() as stack:
        warm_s = (clock.now_ns() - began_ns) / NS
        watches = [TokenWatch(warm.address, clock, seed) for seed in range(load.clients)]
        for one in watches:
            one.start()
            stack.callback(one.stop)
        waits: list[float] = []
        _until_heard(watches, began_ns, clock)
        for kill in range(load.kills):
            sleep_s(load.pause_s)
            progress(f"kill {kill + 1} of {load.kills}")
            waits += _after_a_kill(warm.pid, watches, clock)
    return RecoveryReport(name, load.clients, load.kills, cold_s, warm_s, tuple(waits))


def _after_a_kill(door: int, watches: list[TokenWatch], clock: Clock) -> list[float]:
    """Seconds that each client waited for its next token."""
    killed_ns, dead = clock.now_ns(), _engine_of(door, clock)
    os.kill(dead, signal.SIGKILL)
    while _engine_of(door, clock) == dead:
        sleep_s(0.002)
    # What the dead engine had still sent has come by now, or comes before the new one is ready.
    began_ns = clock.now_ns() + int(0.05 * NS)
    _until_heard(watches, began_ns, clock)
    return [one.longest_wait_ns(killed_ns) / NS for one in watches]


def _until_heard(watches: list[TokenWatch], since_ns: int, clock: Clock) -> None:
    end_ns = clock.now_ns() + int(PATIENCE_S * NS)
    while not all(one.heard_since(since_ns) for one in watches):
        error = next((one.error for one in watches if one.error is not None), None)
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


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `bench recovery`."""
    flags = Flags(parser)
    preset = "a folder or id of the hub (default: small, for which there are targets with a spare)"
    flags.value("model", "MODEL", preset)
    flags.value("kills", "N", "", 20)
    flags.value("clients", "N", "that take tokens meanwhile", 4)
    flags.value("pause-s", "S", "with tokens between two kills", 2.0)
    flags.switch("no-spare-engine", "let the server start its engines from nothing, as its own flag does")
    add_json_flag(parser, "the figures")


def run(args: argparse.Namespace) -> int:
    """Measure. Raises InvalidSettings, Unavailable."""
    check_bounds(args, kills=(1, 10_000), clients=(1, 64), pause_s=(0, 600))
    with Bar() as bar, tempfile.TemporaryDirectory(prefix="skipjoin-bench-") as folder:
        name, flags = server_of(args, bar)
        home, clock = Path(folder), MonotonicClock()
        load = Load(args.kills, args.clients, args.pause_s)
        report = measure(name, flags, home, clock, load, bar.note)
    judged = args.model is None and not args.no_spare_engine
    print(f"{report.model}, {report.kills} kills, {report.clients} clients")
    for label, found, target in report.figures():
        told = ""
        if judged and target is not None:
            told = f"   target {target:g} s: {'held' if found <= target else 'MISSED'}"
        print(f"{label:<34}{found:8.2f} s{told}")
    write_json(args.json, asdict(report))
    return 0 if not judged or report.holds else 1


def server_of(args: argparse.Namespace, bar: Bar) -> tuple[str, list[str]]:
    """The model's name, and the words that start its server. Raises as `find_model` does."""
    if args.model is None:
        model = ensure_model("small", bar)
        name = model.name
    else:
        place = find_model(args.model)
        model, name = place.folder, place.names[0]
    return name, [str(model.resolve()), *(["--no-spare-engine"] if args.no_spare_engine else [])]
