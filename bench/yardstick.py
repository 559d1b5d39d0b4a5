"""How quick this machine is right now, and what else it was doing.

Owns the yardstick (a Python loop, a numpy pass, a copy), the unit made of it, what a look at the
machine reads, and the judgement whether a measurement had the machine to itself. It knows no
benchmark: turns and engines are told in units, the demo judges its bars only where it was quiet.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median

import numpy as np

from ..core.clock import Clock, thread_cpu_ns

LOOPS, PASSES = 160, 5
_NUMBERS, _COPIED = 1 << 15, 1 << 18
MOST_DRIFT = 0.10
MOST_TAKEN = 0.05
MOST_STOLEN = 0.03
"""Shares of the processors that the host and other processes may take of a measurement."""
_SHORTEST_S = 2.0
"""Processor times come in steps of a hundredth of a second."""
_LOOKS = 15


class _Piece:
    __slots__ = ("number", "seen")

    def __init__(self, number: int) -> None:
        self.number = number
        self.seen = 0


class Yardstick:
    """Times its work by the CPU clock of the thread. `samples_ns`: a sample for each `measure`, all
    three parts together.

    A unit is a millisecond on the machine of docs/benchmarks.md with AVX-512, most of it Python, as
    in a turn: there a figure in units is one in ms.
    """

    def __init__(self) -> None:
        self.samples_ns: list[int] = []
        self._pieces = [_Piece(number) for number in range(64)]
        self._numbers, self._sums = np.linspace(0.0, 1.0, _NUMBERS), np.empty(_NUMBERS)
        self._from, self._to = np.zeros(_COPIED), np.empty(_COPIED)

    @property
    def unit_ms(self) -> float:
        """The median sample."""
        return median(self.samples_ns) / 1e6

    def measure(self) -> None:
        """One sample more."""
        begun = thread_cpu_ns()
        self._loop()
        for _ in range(PASSES):
            np.multiply(self._numbers, 1.5, out=self._sums)
            np.add(self._sums, self._numbers, out=self._sums)
            self._sums.sum()
        np.copyto(self._to, self._from)
        self.samples_ns.append(thread_cpu_ns() - begun)

    def _loop(self) -> int:
        table: dict[int, int] = {}
        total = 0
        for turn in range(LOOPS):
            for piece in self._pieces:
                number = piece.number
                if number & 1:
                    piece.seen = total
                table[number] = turn
                total += number
        return total


@dataclass(frozen=True, slots=True)
class Look:
    """The machine at one moment: the yardstick's unit, and seconds of our processors' time.

    `busy_s`: by all processes, `own_s` of it by this one and its children that have ended;
    `stolen_s`: that the host gave to others. None: not told.
    """

    at_s: float
    unit_ms: float
    own_s: float
    busy_s: float | None = None
    stolen_s: float | None = None


def look(clock: Clock) -> Look:
    """Now; takes some 20 ms."""
    yardstick = Yardstick()
    for _ in range(_LOOKS):
        yardstick.measure()
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    own_s = sum(usage.ru_utime + usage.ru_stime for usage in usages)
    # The lower half: what a neighbour adds to single samples is told by the processor times.
    unit_ms = median(sorted(yardstick.samples_ns)[: _LOOKS // 2 + 1]) / 1e6
    return Look(clock.now_ns() / 1e9, unit_ms, own_s, *_processors())


def _processors() -> tuple[float | None, float | None]:
    """Busy and stolen seconds of our processors, of which Linux tells in clock ticks."""
    ours = {f"cpu{number}" for number in os.sched_getaffinity(0)}
    busy = stolen = 0
    found = False
    with suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/stat").read_text(encoding="ascii").splitlines():
            name, *ticks = line.split()
            if name in ours:
                user, nice, system, _idle, _wait, interrupts, soft, steal = (int(one) for one in ticks[:8])
                busy, stolen, found = busy + user + nice + system + interrupts + soft, stolen + steal, True
    second = os.sysconf("SC_CLK_TCK")
    return (busy / second, stolen / second) if found else (None, None)


def disturbances(looks: Sequence[Look], processors: int) -> tuple[str, ...]:
    """Why a measurement between these looks says little; () where the machine was its own.

    Each stretch between two looks counts by itself: a neighbour of ten seconds spoils the run that
    it fell into.
    """
    said: list[str] = []
    if len(looks) < 2:
        return ()
    units = [one.unit_ms for one in looks]
    drift = max(units) / min(units) - 1.0
    if drift > MOST_DRIFT:
        apart = f"{min(units):.2f} to {max(units):.2f} ms: {drift:.0%} apart"
        said.append(f"fixed work took {apart}, at most {MOST_DRIFT:.0%} is quiet")
    spans = [(before, after) for before, after in pairwise(looks) if after.at_s - before.at_s >= _SHORTEST_S]
    for name, taken_s, most in (("other processes", _others_s, MOST_TAKEN), ("the host", _stolen_s, MOST_STOLEN)):
        shares = [taken_s(*span) / ((span[1].at_s - span[0].at_s) * processors) for span in spans]
        if (worst := max(shares, default=0.0)) > most:
            said.append(f"{name} took up to {worst:.0%} of {processors} processors, at most {most:.0%} is quiet")
    return tuple(said)


def _others_s(before: Look, after: Look) -> float:
    if before.busy_s is None or after.busy_s is None:
        return 0.0
    return after.busy_s - before.busy_s - (after.own_s - before.own_s)


def _stolen_s(before: Look, after: Look) -> float:
    return 0.0 if before.stolen_s is None or after.stolen_s is None else after.stolen_s - before.stolen_s
