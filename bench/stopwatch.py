"""Where the CPU time of one thread goes, iteration after iteration.

Owns the laps of the running iteration and those of every finished one that counts. It does not know what is timed; bench/timed_engine puts it around
the parts of an engine, bench/engine_work reads it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TypeVar, TypeVarTuple

from ..core.clock import thread_cpu_ns

WHOLE = "whole"
"""The name of all of an iteration, from one `begin` to the next."""

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Stopwatch:
    """`iterations`: nanoseconds by part, `WHOLE` among them; a part that did not come is 0. Reading the clock itself, twice a lap, is in them."""

    def __init__(self) -> None:
        self.iterations: list[Counter[str]] = []
        self._laps = Counter[str]()
        self._begun_ns = thread_cpu_ns()

    def begin(self, *, counts: bool) -> None:
        """The next iteration begins; the one before it is kept if it `counts`."""
        now_ns = thread_cpu_ns()
        if counts:
            self._laps[WHOLE] = now_ns - self._begun_ns
            self.iterations.append(self._laps)
        self._laps = Counter()
        self._begun_ns = now_ns

    def lap(self, part: str, work: Callable[[*Ts], T], *given: *Ts) -> T:
        """What `work` gives; its time is added to `part`."""
        begun_ns = thread_cpu_ns()
        answer = work(*given)
        self._laps[part] += thread_cpu_ns() - begun_ns
        return answer
