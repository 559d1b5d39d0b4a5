"""A process that decodes for a measurement, from its start to its end.

Owns the conversation on the side of the measurement, time limits, and the end of the process on every way out. It does not know what is asked; `talk`
answers in the process, bench/offline asks.
"""

from __future__ import annotations

import json
import selectors
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ...core.errors import Unavailable
from ..server import PACKAGE, own_environment
from .catalogue import Peer
from .environment import Machine, clean
from .home import Home
from .process import PATIENCE_S, fate, kill_group, resume_group, stop_group

SPIN = "10000"
"""As the executor sets it, for runners that load torch before they load it."""
BOOT = Path(__file__).parent / "boot.py"


class Runner:
    """Use it in a `with`: it starts when the block begins and is gone, with all it started, when the block ends.

    Between questions it is stopped: an engine that waits for work by spinning would take a processor from whoever's turn it is.
    """

    def __init__(self, name: str, words: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        """`words` is the command; what it says on standard error goes to `log`."""
        self.name = name
        self._words = list(words)
        self._environment = dict(environment)
        self._log = log
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with self._log.open("w", encoding="utf-8") as log:
            self._process = subprocess.Popen(
                self._words,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=self._environment,
                start_new_session=True,
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if (process := self._process) is not None:
            resume_group(process)
            if error is None and process.stdin is not None:
                # The end of its input ends it; some put away what they started, given the time.
                with suppress(OSError):
                    process.stdin.close()
                with suppress(subprocess.TimeoutExpired):
                    process.wait(PATIENCE_S)
            kill_group(process)

    @property
    def pid(self) -> int:
        """The process, and the session of all that it started."""
        assert self._process is not None, "entered"
        return self._process.pid

    def ask(self, what: str, patience_s: float, **more: object) -> dict[str, Any]:
        """One question and its answer. Raises Unavailable, with the runner's last words, when it fails, dies or takes too long."""
        process = self._process
        assert process is not None and process.stdin is not None and process.stdout is not None, "entered"
        resume_group(process)
        try:
            process.stdin.write(json.dumps({"do": what, **more}) + "\n")
            process.stdin.flush()
            line = self._line(patience_s)
        except BrokenPipeError:
            line = ""
        if not line:
            raise self._gone()
        stop_group(process)
        answer: dict[str, Any] = json.loads(line)
        if "ok" not in answer:
            raise Unavailable(f"{self.name} cannot {what}: {answer.get('error')}.")
        told: dict[str, Any] = answer["ok"]
        return told

    def _line(self, patience_s: float) -> str:
        """A line, or nothing when the process ended. Raises Unavailable when neither comes."""
        process = self._process
        assert process is not None and process.stdout is not None, "asked"
        # One answer a question: nothing can be waiting in the stream's buffer.
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            if not selector.select(patience_s):
                raise Unavailable(f"{self.name} gave no answer within {patience_s:g} s; {fate(None, self._log)}")
        return process.stdout.readline()

    def _gone(self) -> Unavailable:
        assert self._process is not None, "asked"
        try:
            code: int | None = self._process.wait(5)
        except subprocess.TimeoutExpired:
            code = None
        return Unavailable(f"{self.name} {fate(code, self._log)}")


def peer_runner(peer: Peer, threads: int, kv_gib: int) -> Runner:
    """The peer's own. Raises InvalidSettings when it is not installed."""
    home = Home(peer)
    home.require()
    machine = Machine(threads, kv_gib, home.prefix, home.kept)
    words = [str(home.python), str(BOOT), str(peer.runner)]
    return Runner(peer.name, words, clean(threads, peer.environment(machine)), home.log)


def own_runner(name: str, module: str, threads: int, log: Path) -> Runner:
    """One of ours, in this interpreter: `module` below the package."""
    own = own_environment() | {"OMP_NUM_THREADS": str(threads)}
    own.setdefault("GOMP_SPINCOUNT", SPIN)
    return Runner(name, [sys.executable, "-m", f"{PACKAGE}.{module}"], own, log)
