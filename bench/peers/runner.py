"""The conversation with a process that decodes for a measurement.

Owns the side of the measurement: questions, time limits, pauses in between. It does not know what
is asked; `runners` answer in the process, `engine` asks.
"""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from ...core.clock import MonotonicClock
from ...core.errors import Unavailable
from ..load.process import PACKAGE, MeasuredProcess, own_environment
from .catalogue import Home, Machine, Peer, clean_environment

SPIN = "10000"
"""As the executor sets it, for runners that load torch before they load it."""
BOOT = Path(__file__).parent / "boot.py"
NS = 1e9
PIECE = 1 << 16
LET_GO_S = 10.0


class Runner(MeasuredProcess):
    """One that answers questions.

    Between them it is paused: an engine that waits for work by spinning would take a processor from
    the one that is measured. Left in peace, it ends by the end of its input.
    """

    piped = True

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None and not self._ended:
                self._let_go()
        finally:
            self.stop()

    def ask(self, what: str, patience_s: float, **more: object) -> dict[str, Any]:
        """One question and its answer. Raises Unavailable when it fails, dies or takes too long.

        One that gave no answer is ended at once: what it does still would slow the next one, and
        its answer would be to an old question.
        """
        stdin = self.process.stdin
        assert stdin is not None, "piped"
        self.resume()
        try:
            with suppress(BrokenPipeError):
                stdin.write(json.dumps({"do": what, **more}) + "\n")
                stdin.flush()
            answer = self._parsed(self._line(patience_s))
        except BaseException:
            self.stop()
            raise
        self.pause()
        if "ok" not in answer:
            raise Unavailable(f"{self.name} cannot {what}: {answer.get('error')}.")
        told: dict[str, Any] = answer["ok"]
        return told

    def _line(self, patience_s: float) -> bytes:
        """A line, cut off where the process ended. Raises Unavailable: not whole in time."""
        assert self.process.stdout is not None, "piped"
        stream, clock, line = self.process.stdout.fileno(), MonotonicClock(), bytearray()
        limit_ns = clock.now_ns() + int(patience_s * NS)
        with selectors.DefaultSelector() as selector:
            selector.register(stream, selectors.EVENT_READ)
            while not line.endswith(b"\n"):
                left_ns = limit_ns - clock.now_ns()
                if left_ns <= 0 or not selector.select(left_ns / NS):
                    raise Unavailable(f"{self.name} gave no answer within {patience_s:g} s; {self.fate(None)}")
                if not (piece := os.read(stream, PIECE)):
                    break
                line += piece
        return bytes(line)

    def _parsed(self, line: bytes) -> dict[str, Any]:
        """The answer. Raises Unavailable for a process that ended, or says something else."""
        if not line.endswith(b"\n"):
            code: int | None = None
            with suppress(subprocess.TimeoutExpired):
                code = self.process.wait(5)
            raise Unavailable(f"{self.name} {self.fate(code)}")
        try:
            answer = json.loads(line)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            said = line.decode("utf-8", "replace").strip()[:80]
            raise Unavailable(f"{self.name} said {said!r} where an answer was due.")
        return answer

    def _let_go(self) -> None:
        """The end of its input ends it; some put away what they started, given the time."""
        assert self.process.stdin is not None, "piped"
        self.resume()
        with suppress(OSError):
            self.process.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(LET_GO_S)


def peer_runner(peer: Peer, threads: int, kv_gib: int, device: str = "cpu") -> Runner:
    """The peer's own. Raises InvalidSettings when it is not installed for the device."""
    home = Home(peer, device)
    home.require()
    machine = Machine(threads, kv_gib, home.prefix, home.kept)
    words = [str(home.python), str(BOOT), str(peer.runner)]
    return Runner(peer.name, words, clean_environment(threads, peer.environment(machine)), home.log)


def own_runner(name: str, system: str, threads: int, log: Path) -> Runner:
    """One of ours, in this interpreter: `system` as `runners` names it."""
    own = own_environment() | {"OMP_NUM_THREADS": str(threads)}
    own.setdefault("GOMP_SPINCOUNT", SPIN)
    return Runner(name, [sys.executable, "-m", f"{PACKAGE}.bench.peers.runners", system], own, log)
