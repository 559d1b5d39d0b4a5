"""A record of a live run.

Owns the writing of its lines: a header with settings, cost model and pool sizes, then per turn
three clock reads, the events, what the executor answered and a digest of the effects. Prompts are
left out: their lengths decide, not their tokens. engine/turn writes it, engine/record reads it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ..core.cost_model import CostModel
from ..core.effects import TurnEffects
from ..core.errors import StoreUnavailable
from ..core.events import Event
from ..core.executor import ExecutorFacts
from ..core.outcome import IterationOutcome
from ..cost.exact import BaseCost, cost_of, cost_values
from ..cost.online import CorrectedCostModel, OnlineCorrection
from ..kvstore.params import KvParams
from ..scheduler.params import LadderParams
from .params import EngineParams
from .record_lines import line_of, outcome_line

FORMAT = 2
READ_FORMATS = (1, 2)
"""1 knows coefficients only, and no correction."""


@dataclass(frozen=True, slots=True)
class RecordHeader:
    """Everything that an engine is assembled from. `corrected`: it begins with the profile's `cost`
    and corrects it by what iterations take.
    """

    policy: str
    cost: BaseCost
    facts: ExecutorFacts
    params: EngineParams
    end_tokens: frozenset[int] = frozenset()
    token_bytes: tuple[bytes, ...] | None = None
    corrected: bool = False
    learned: bytes | None = None

    def engine_cost(self) -> CostModel:
        """The cost model to assemble with; a correction that nobody has told anything yet, each
        time.
        """
        return CorrectedCostModel(self.cost, OnlineCorrection()) if self.corrected else self.cost

    def to_json(self) -> dict[str, Any]:
        """As the first line of a record."""
        return {
            "format": FORMAT,
            "policy": self.policy,
            "cost": cost_values(self.cost),
            "corrected": self.corrected,
            "facts": dataclasses.asdict(self.facts),
            "params": dataclasses.asdict(self.params),
            "end_tokens": sorted(self.end_tokens),
            "token_bytes": None if self.token_bytes is None else [piece.hex() for piece in self.token_bytes],
            "learned": None if self.learned is None else self.learned.decode(),
        }

    @classmethod
    def from_json(cls, line: dict[str, Any]) -> RecordHeader:
        """Raises KeyError, TypeError or ValueError for a line that is no header."""
        old = line["format"] == 1
        if line["format"] not in READ_FORMATS or (not old and not isinstance(line["corrected"], bool)):
            raise ValueError("another format")
        params = dict(line["params"])
        params["kv"] = KvParams(**params["kv"])
        params.setdefault(
            "iteration_ms", 0.0
        )  # a record without it is older than the setting: its prompts were bounded by quanta alone
        params["ladder"] = None if params["ladder"] is None else LadderParams(**params["ladder"])
        pieces, learned = line["token_bytes"], line.get("learned")
        return cls(
            policy=line["policy"],
            cost=cost_of({"kind": "coefficients", **line["cost"]} if old else line["cost"]),
            facts=ExecutorFacts(**line["facts"]),
            params=EngineParams(**params),
            end_tokens=frozenset(line["end_tokens"]),
            token_bytes=None if pieces is None else tuple(bytes.fromhex(piece) for piece in pieces),
            corrected=not old and line["corrected"],
            learned=None if learned is None else str(learned).encode(),
        )


class Recorder:
    """Writes a record; one line per turn that had events, a plan or effects. Raises
    StoreUnavailable when the file cannot be written.
    """

    def __init__(self, path: Path, header: RecordHeader) -> None:
        self._name = path.name
        try:
            # A record holds what a job pool holds: for its owner alone.
            self._file = open(path, "w", encoding="utf-8", opener=partial(os.open, mode=0o600))  # noqa: SIM115
        except OSError as bad:
            raise self._refusal(bad) from None
        self._events: list[dict[str, Any]] = []
        self._write(header.to_json())

    def events(self, events: Sequence[Event]) -> None:
        """The events of the turn that begins."""
        self._events = [line_of(event) for event in events]

    def turn(self, reads_ns: tuple[int, int, int], outcome: IterationOutcome | None, effects: TurnEffects) -> None:
        """The turn is over: drain, launch and outcome reads, the executor's answer, the effects."""
        self._write(
            {
                "reads_ns": reads_ns,
                "events": self._events,
                "outcome": None if outcome is None else outcome_line(outcome),
                "digest": digest(effects),
            }
        )

    def close(self) -> None:
        """Flush and close; idempotent."""
        try:
            self._file.close()
        except OSError as bad:
            raise self._refusal(bad) from None

    def _write(self, line: dict[str, Any]) -> None:
        try:
            self._file.write(json.dumps(line, separators=(",", ":")) + "\n")
        except OSError as bad:
            raise self._refusal(bad) from None

    def _refusal(self, bad: OSError) -> StoreUnavailable:
        return StoreUnavailable(f"The record {self._name} cannot be written: {bad.strerror or 'output error'}.")


def digest(effects: TurnEffects) -> str:
    """A fingerprint of a turn's effects without log-probabilities, 32 hex digits."""
    state = hashlib.blake2b(digest_size=16)
    if effects.tokens is not None:
        for column in (effects.tokens.handles, effects.tokens.positions, effects.tokens.tokens):
            state.update(column.astype("<i8").tobytes())
    state.update(repr((effects.stats, effects.effects)).encode())
    return state.hexdigest()
