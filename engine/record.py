"""The replay of a record: the same events give the same effects.

Owns the reading of a record and a run of the pure half with a clock that says what the record says
and an executor that is never asked. It does not know where the record came from; `simulate
--replay` calls `replay`, the demo's fidelity runs `measured_iterations`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..core.errors import InvalidInput, InvariantViolation, SkipjoinError
from ..core.events import Event
from ..core.executor import ExecutorFacts
from ..core.outcome import IterationOutcome
from ..core.plan import IterationPlan
from ..cost.sweep_row import SweepRow
from .assemble import assemble
from .record_lines import event_of, outcome_of
from .recording import Recorder, RecordHeader, digest
from .state import EngineState
from .turn import Turn

__all__ = ["RecordHeader", "Recorder", "ReplayReport", "measured_iterations", "replay"]


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
    """Run a record again and compare every turn's effects. Raises InvalidInput for a file that is
    no record.
    """
    header, replayer, recorded = _opened(path)
    turns = identical = 0
    first: int | None = None
    for one in recorded:
        turns += 1
        if first is None and replayer.turn(one) == one.digest:
            identical += 1
        elif first is None:
            first = turns
    return ReplayReport(header.policy, turns, identical, first)


def measured_iterations(path: Path) -> tuple[SweepRow, ...]:
    """What each iteration of a record held and how long it was from one turn's begin to the next
    one's, in order; until it ended, where the engine then had nothing to do.

    Raises InvalidInput for a file that is no record, does not replay, or of an engine that ran
    ahead: its iterations overlap.
    """
    header, replayer, recorded = _opened(path)
    if header.params.run_ahead:
        raise InvalidInput(f"{path.name} is the record of an engine that ran ahead.", field="record")
    rows: list[SweepRow] = []
    open_row: SweepRow | None = None
    begun_ns = 0
    for one in recorded:
        if open_row is not None:
            rows.append(replace(open_row, measured_ns=max(one.reads_ns[0] - begun_ns, 1)))
        if replayer.turn(one) != one.digest:
            raise InvalidInput(f"{path.name} does not replay.", field="record")
        begun_ns, open_row = one.reads_ns[0], None
        plan = replayer.plan
        if plan is not None and plan.computes:
            row = SweepRow(_chunks(plan), len(plan.decode), replayer.contexts, max(one.reads_ns[2] - begun_ns, 1))
            if replayer.busy:
                open_row = row
            else:
                rows.append(row)
    return (*rows, open_row) if open_row is not None else tuple(rows)


def _chunks(plan: IterationPlan) -> tuple[tuple[int, int], ...]:
    return tuple((chunk.length, chunk.start) for chunk in plan.prefills)


@dataclass(frozen=True, slots=True)
class _Recorded:
    """One turn of a record."""

    reads_ns: tuple[int, ...]
    events: list[Event]
    outcome: IterationOutcome | None
    digest: str


def _opened(path: Path) -> tuple[RecordHeader, _Replayer, Iterator[_Recorded]]:
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
    return header, _Replayer(state), (_recorded(path, number, line) for number, line in lines)


def _recorded(path: Path, number: int, line: dict[str, Any]) -> _Recorded:
    try:
        return _Recorded(
            reads_ns=tuple(int(read) for read in line["reads_ns"]),
            events=[event_of(event) for event in line["events"]],
            outcome=None if line["outcome"] is None else outcome_of(line["outcome"]),
            digest=str(line["digest"]),
        )
    except (KeyError, TypeError, ValueError, SkipjoinError):
        raise InvalidInput(f"Line {number} of {path.name} is not a turn.", field="replay") from None


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
        self.plan: IterationPlan | None = None
        """What the last turn decided."""
        self.contexts = 0
        """Of the members of its decode batch together, each counting the token that it computes."""

    @property
    def busy(self) -> bool:
        """Whether the engine went on at once."""
        return self._turn.busy

    def turn(self, one: _Recorded) -> str | None:
        """The digest of the turn's effects; None when the engine did something that the outcome
        does not fit.
        """
        self._clock.reads_ns = list(one.reads_ns)
        self.plan = plan = self._turn.decide(one.events)
        self.contexts = 0 if plan is None else self._state.planner.books.running.context_sum - len(plan.decode)
        if self._turn.waits() != (one.outcome is not None):
            return None
        if one.outcome is not None and not self._answers(one.outcome, self._state.in_flight[0].decision.plan):
            return None
        return digest(self._turn.settle(one.outcome))

    def _answers(self, outcome: IterationOutcome, plan: IterationPlan) -> bool:
        """Whether an executor could say this to the plan: an engine that does something else
        numbers its plans alike.
        """
        failed = {handle for handle, _ in outcome.failed}
        members = [*plan.decode.handles.tolist(), *(chunk.handle for chunk in plan.prefills if chunk.last)]
        if outcome.seq != plan.seq or outcome.handles.tolist() != [one for one in members if one not in failed]:
            return False
        ledger = self._state.ledger
        return outcome.generation != ledger.generation or all(move in ledger.tickets for move in outcome.landed)
