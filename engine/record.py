"""The replay of a record: the same events give the same effects.

Owns the reading of a record and a run of the pure half with a clock that says what the record says and an executor that is never asked. It
does not know where the record came from; `simulate --replay` calls `replay`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core.errors import InvalidInput, InvariantViolation, SkipjoinError
from ..core.events import Event
from ..core.outcome import IterationOutcome
from ..core.plan import IterationPlan
from ..core.ports import ExecutorFacts
from .assemble import assemble
from .record_lines import event_of, outcome_of
from .recording import Recorder, RecordHeader, digest
from .state import EngineState
from .turn import Turn

__all__ = ["RecordHeader", "Recorder", "ReplayReport", "replay"]


@dataclass(frozen=True, slots=True)
class ReplayReport:
    """How a replay compares with its record. `first_difference` numbers the turn, from 1."""

    policy: str
    turns: int
    identical: int
    first_difference: int | None

    def __str__(self) -> str:
        if self.first_difference is None:
            return f"{self.turns} turns of {self.policy} replayed with identical effects."
        return (
            f"{self.identical} of {self.turns} turns of {self.policy} replayed with identical effects; "
            f"turn {self.first_difference} is the first that differs."
        )


def replay(path: Path) -> ReplayReport:
    """Run a record again and compare every turn's effects. Raises InvalidInput for a file that is no record."""
    lines = _lines(path)
    try:
        header = RecordHeader.from_json(next(lines)[1])
    except (StopIteration, KeyError, TypeError, ValueError, AttributeError, SkipjoinError):
        raise InvalidInput(f"{path.name} does not begin like a record of this version.", field="replay") from None
    state = assemble(
        header.policy,
        header.engine_cost(),
        header.facts,
        header.params,
        end_tokens=header.end_tokens,
        token_bytes=header.token_bytes,
        learned=header.learned,
    )
    replayer = _Replayer(state)
    turns = identical = 0
    first: int | None = None
    for number, line in lines:
        turns += 1
        try:
            reads_ns = tuple(int(read) for read in line["reads_ns"])
            events = [event_of(event) for event in line["events"]]
            outcome = None if line["outcome"] is None else outcome_of(line["outcome"])
            expected = str(line["digest"])
        except (KeyError, TypeError, ValueError, SkipjoinError):
            raise InvalidInput(f"Line {number} of {path.name} is not a turn.", field="replay") from None
        if first is None and replayer.turn(reads_ns, events, outcome) == expected:
            identical += 1
        elif first is None:
            first = turns
    return ReplayReport(header.policy, turns, identical, first)


def _lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        with path.open(encoding="utf-8") as file:
            for number, text in enumerate(file, 1):
                if not text.endswith("\n"):
                    return  # the engine was killed while it wrote the last line
                try:
                    yield number, json.loads(text)
                except ValueError:
                    raise InvalidInput(f"Line {number} of {path.name} is not JSON.", field="replay") from None
    except (OSError, UnicodeDecodeError):
        raise InvalidInput(f"{path.name} cannot be read as a record.", field="replay") from None


class _ReadClock:
    """Gives recorded reads, one after the other."""

    def __init__(self) -> None:
        self.reads_ns: list[int] = []

    def now_ns(self) -> int:
        return self.reads_ns.pop(0)


class _NoExecutor:
    """A record holds the answers; nobody is asked."""

    def start(self) -> ExecutorFacts:
        raise InvariantViolation("A replay starts no executor.")

    def submit(self, plan: IterationPlan) -> None:
        raise InvariantViolation("A replay submits nothing.")

    def poll(self, timeout_ns: int | None) -> IterationOutcome | None:
        raise InvariantViolation("A replay waits for nobody.")

    def close(self) -> None:
        """Nothing to give back."""


class _Replayer:
    """Steps an engine through recorded turns."""

    def __init__(self, state: EngineState) -> None:
        self._state = state
        self._clock = _ReadClock()
        self._turn = Turn(state, _NoExecutor(), self._clock)

    def turn(self, reads_ns: Sequence[int], events: Sequence[Event], outcome: IterationOutcome | None) -> str | None:
        """The digest of the turn's effects; None when the engine did something that the outcome does not fit."""
        self._clock.reads_ns = list(reads_ns)
        self._turn.decide(events)
        if self._turn.waits() != (outcome is not None):
            return None
        if outcome is not None and not self._answers(outcome, self._state.in_flight[0].decision.plan):
            return None
        return digest(self._turn.settle(outcome))

    def _answers(self, outcome: IterationOutcome, plan: IterationPlan) -> bool:
        """Whether an executor could say this to the plan: an engine that does something else numbers its plans alike."""
        failed = {handle for handle, _ in outcome.failed}
        members = [*plan.decode.handles.tolist(), *(chunk.handle for chunk in plan.prefills if chunk.last)]
        if outcome.seq != plan.seq or outcome.handles.tolist() != [one for one in members if one not in failed]:
            return False
        ledger = self._state.ledger
        return outcome.generation != ledger.generation or all(move in ledger.tickets for move in outcome.landed)
