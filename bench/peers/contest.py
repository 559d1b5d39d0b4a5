"""Who is visited when, and what is known already.

Owns the order: the peer's saturation, then in every repeat each server once, and the first one
changes; and the file of what was visited, so that an interrupted contest goes on.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ...console.json_flag import STANDARD
from ...console.output_file import write
from ...core.errors import InvalidInput
from .scenario import LiveScenario
from .visit import Contender, Line, VisitContext, saturation, visit

FIELDS: dict[object, set[str]] = {
    "head": {"machine", "peer", "version"},
    "saturation": {"key", "system", "rate_per_s", "drains"},
    "visit": {"key", "system", "repeat", "cells"},
}
"""What a line of each kind has at least."""


@dataclass(frozen=True, slots=True)
class Key:
    """What must be equal for lines to be put together."""

    #: Its digest.
    scenario: str
    #: Ours, or the version.
    commit: str
    #: With its version.
    peer: str
    machine: str

    def as_json(self) -> Line:
        """As it stands in a line."""
        return asdict(self)


class VisitFile:
    """JSON lines: in a file that is read first, on standard output (`-`), or (None) in memory."""

    def __init__(self, name: str | Path | None) -> None:
        """Raises InvalidInput for a file that holds something else."""
        self._shown = name == STANDARD
        self._file = file = None if name is None or self._shown else Path(name)
        self.lines: list[Line] = []
        if file is None or not file.exists():
            return
        try:
            text = file.read_text(encoding="utf-8", errors="replace")
        except OSError as bad:
            raise InvalidInput(f"--json {file.name} cannot be read: {bad.strerror}.", field="json") from None
        whole = text[: text.rfind("\n") + 1]  # a last line that was not written to its end is made again
        for number, line in enumerate(whole.splitlines(), 1):
            try:
                self.lines.append(self._parsed(line))
            except ValueError:
                where = f"--json {file.name}, line {number}"
                raise InvalidInput(f"{where}: no line of bench live; name another file.", field="json") from None
        if whole != text:
            file.write_text(whole, encoding="utf-8")

    @staticmethod
    def _parsed(line: str) -> Line:
        value = json.loads(line)
        if not isinstance(value, dict) or not FIELDS.get(value.get("kind"), {"none"}) <= value.keys():
            raise ValueError("another kind of line")
        return value

    def add(self, line: Line) -> None:
        """Keep it, on disk at once."""
        self.lines.append(line)
        if self._shown:
            write(STANDARD, json.dumps(line) + "\n", "json")
        if self._file is not None:
            try:
                with self._file.open("a", encoding="utf-8") as stream:
                    stream.write(json.dumps(line) + "\n")
            except OSError as bad:
                why = bad.strerror or "output error"
                raise InvalidInput(f"--json cannot be written: {why}.", field="json") from None

    def of(self, key: Key) -> list[Line]:
        """The lines with this key."""
        return [line for line in self.lines if line.get("key") == key.as_json()]

    def find(self, key: Key, kind: str, system: str, repeat: int | None = None) -> Line | None:
        """The line about this, if there is one."""
        for line in self.of(key):
            if line["kind"] == kind and line["system"] == system and line.get("repeat") == repeat:
                return line
        return None


def schedule(scenario: LiveScenario, contenders: Sequence[Contender]) -> Iterator[tuple[int, Contender]]:
    """Every repeat visits each of them; the first to be visited changes."""
    for repeat in range(scenario.repeats):
        turn = repeat % len(contenders)
        for contender in (*contenders[turn:], *contenders[:turn]):
            yield repeat, contender


def compete(
    context: VisitContext, key: Key, peer: Contender, ours: Sequence[Contender], file: VisitFile, visits: int | None
) -> bool:
    """Visit those not in the file yet, at most `visits` servers (None: all).

    Returns whether none is left. Raises Unavailable.
    """
    left = visits

    def may() -> bool:
        nonlocal left
        if left is not None:
            left -= 1
        return left is None or left >= 0

    known = file.find(key, "saturation", peer.name)
    if known is None:
        if not may():
            return False
        known = saturation(context, peer) | {"key": key.as_json()}
        file.add(known)
    rate = f"{known['rate_per_s']:.2f} requests a second"
    context.bar.note(f"{context.scenario.title}: {peer.name} saturates at {rate}")
    for repeat, contender in schedule(context.scenario, [peer, *ours]):
        if file.find(key, "visit", contender.name, repeat) is not None:
            continue
        if not may():
            return False
        file.add(visit(context, contender, repeat, known["rate_per_s"]) | {"key": key.as_json()})
    return True
