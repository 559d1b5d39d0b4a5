"""Where an output ends because of a stop string.

Owns `StopAutomaton`, compiled once per set of stop strings, and `StopMatcher`, one job's place in
it: both are pure functions over bytes and know neither tokens nor text. The engine asks whether a
job stops, core/text.py where its text is cut; both get the same answer, because both feed the same
bytes.

The output stops at the first byte at which any stop string is complete; of several that end there,
the longest counts. So the answer depends on the bytes only, never on how tokens divide them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

_KNOWN_STEPS = 1 << 14


@dataclass(frozen=True, slots=True)
class StopMatch:
    """The stop string takes bytes [start, end) of the output: shown are the bytes before `start`."""

    start: int
    end: int


class StopAutomaton:
    """The Aho-Corasick automaton of some stop strings (Aho and Corasick, CACM 18(6), 1975).
    Immutable but for a memory of steps taken.

    A state is a number; 0 is the start. Its depth is the length of the longest suffix of the bytes
    seen that begins a stop string: exactly the bytes that must not be shown yet.
    """

    __slots__ = ("_fail", "_known", "_next", "depth", "matched")

    def __init__(self, stops: Iterable[bytes]) -> None:
        self._next: list[dict[int, int]] = [{}]
        self._fail = [0]
        self.depth = [0]
        self.matched = [0]  # length of the longest stop that ends in this state; 0: none does
        self._known: dict[tuple[int, bytes], tuple[int, int]] = {}
        for stop in stops:
            self._insert(stop)
        self._link()

    def _insert(self, stop: bytes) -> None:
        state = 0
        for byte in stop:
            if byte not in self._next[state]:
                self._next[state][byte] = len(self._next)
                self._next.append({})
                self._fail.append(0)
                self.depth.append(self.depth[state] + 1)
                self.matched.append(0)
            state = self._next[state][byte]
        self.matched[state] = len(stop)

    def _link(self) -> None:
        ready = deque(self._next[0].values())
        while ready:
            state = ready.popleft()
            if not self.matched[state]:
                self.matched[state] = self.matched[self._fail[state]]
            for byte, child in self._next[state].items():
                self._fail[child] = self._step(self._fail[state], byte)
                ready.append(child)

    def _step(self, state: int, byte: int) -> int:
        while byte not in self._next[state]:
            if state == 0:
                return 0
            state = self._fail[state]
        return self._next[state][byte]

    def feed(self, state: int, piece: bytes) -> tuple[int, int]:
        """The state after `piece`, and how many of its bytes were read when a stop was complete
        (-1: none was).
        """
        answer = self._known.get((state, piece))
        if answer is None:
            answer = self._walk(state, piece)
            # Tokens repeat: most steps are one look-up. The bound keeps hostile outputs from
            # growing it.
            if len(self._known) >= _KNOWN_STEPS:
                self._known.clear()
            self._known[state, piece] = answer
        return answer

    def _walk(self, state: int, piece: bytes) -> tuple[int, int]:
        for index, byte in enumerate(piece):
            state = self._step(state, byte)
            if self.matched[state]:
                return state, index + 1
        return state, -1


@lru_cache(maxsize=256)
def compile_stops(stops: tuple[str, ...]) -> StopAutomaton | None:
    """The automaton of some stop strings (as UTF-8), or None when there are none."""
    if not stops:
        return None
    return StopAutomaton(text.encode("utf-8") for text in stops)


class StopMatcher:
    """One job's place in the automaton of its stop strings. Rebuilt by feeding the bytes of its
    tokens so far.

    `seen` counts the bytes taken, without the piece that matched; `match` is set once and for all.
    """

    __slots__ = ("_automaton", "_state", "match", "seen")

    def __init__(self, stops: tuple[str, ...]) -> None:
        self._automaton = compile_stops(stops)
        self._state = 0
        self.seen = 0
        self.match: StopMatch | None = None

    @property
    def held(self) -> int:
        """How many of the last bytes begin a stop string; 0 after a match."""
        if self._automaton is None or self.match is not None:
            return 0
        return self._automaton.depth[self._state]

    def push(self, piece: bytes) -> bool:
        """Take the bytes of the next token; whether a stop string is complete. After a match
        nothing changes any more.
        """
        if self.match is not None:
            return True
        if self._automaton is None:
            return False
        self._state, read = self._automaton.feed(self._state, piece)
        if read < 0:
            self.seen += len(piece)
            return False
        end = self.seen + read
        self.match = StopMatch(end - self._automaton.matched[self._state], end)
        return True
