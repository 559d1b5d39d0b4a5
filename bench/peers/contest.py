"""A comparison of servers: who is visited when, what is known already, and what it amounts to.

Owns the order (the peer's saturation, then in every repeat each server once, and the first one
changes), the file of what was visited, so that an interrupted contest goes on, and the arithmetic:
medians, ratios within a repeat, verdicts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ..figures import Spread, Verdict
from ..result_lines import Line, ResultLines
from .scenario import CLOSED, LiveScenario
from .visit import Contender, VisitContext, saturation, visit

COMPLETE: dict[object, set[str]] = {
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


class VisitFile(ResultLines):
    """What was visited so far."""

    def __init__(self, name: str | Path | None) -> None:
        """Raises InvalidInput for a file that holds something else, Unavailable."""
        super().__init__(name, "json", lambda line, _: None if _complete(line) else "")

    def of(self, key: Key) -> list[Line]:
        """The lines with this key."""
        return [line for line in self.lines if line.get("key") == key.as_json()]

    def find(self, key: Key, kind: str, system: str, repeat: int | None = None) -> Line | None:
        """The line about this, if there is one."""
        wanted = (kind, system, repeat)
        found = (line for line in self.of(key) if (line["kind"], line["system"], line.get("repeat")) == wanted)
        return next(found, None)


def _complete(line: Line) -> bool:
    return COMPLETE.get(line.get("kind"), {"none"}) <= line.keys()


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


MEASURES: tuple[tuple[str, str, str], ...] = (
    ("mean JCT", "mean_jct_s", "mean_jct"),
    ("P99 JCT", "p99_jct_s", "p99_jct"),
    ("mean TTFT", "mean_ttft_s", "mean_ttft"),
)
"""Label, field of a result, bar."""
THROUGHPUT = "output_token_throughput"
FIELDS = {label: field for label, field, _ in MEASURES} | {"throughput": THROUGHPUT}


class LiveStudy:
    """The lines of one scenario."""

    def __init__(self, scenario: LiveScenario, peer: str, lines: Sequence[Line]) -> None:
        self.scenario = scenario
        self.peer = peer
        self.saturation = next((line for line in lines if line["kind"] == "saturation"), None)
        self.visits = [line for line in lines if line["kind"] == "visit"]

    @property
    def systems(self) -> list[str]:
        """Ours in the scenario's order, then the peer; only those that were visited."""
        visited = {line["system"] for line in self.visits}
        return [name for name in (*self.scenario.policies, self.peer) if name in visited]

    def values(self, system: str, cell: str, field: str) -> dict[int, float]:
        """Repeat -> the figure."""
        found = {}
        for line in self.visits:
            for one in line["cells"] if line["system"] == system else ():
                if one["cell"] == cell and (value := one["result"].get(field)) is not None:
                    found[line["repeat"]] = float(value)
        return found

    def spread(self, system: str, cell: str, field: str) -> Spread | None:
        return Spread.known(list(self.values(system, cell, field).values()))

    def ratio(self, system: str, over: str, cell: str, field: str) -> Spread | None:
        """Each ratio within its repeat: the same requests, one server after the other."""
        return Spread.of_ratios(self.values(system, cell, field), self.values(over, cell, field))

    def verdicts(self) -> list[Verdict]:
        """Our first policy over the peer, cell by cell."""
        ours, peer, bars = self.scenario.policies[0], self.peer, self.scenario.bars
        told = []
        for cell in self.scenario.cells:
            if cell.load is None:
                ratio = self.ratio(ours, peer, CLOSED, THROUGHPUT)
                told.append(Verdict(CLOSED, "throughput", peer, ratio, bars.closed_throughput))
                continue
            for label, field, bar in MEASURES:
                ratio = self.ratio(ours, peer, cell.name, field)
                told.append(Verdict(cell.name, label, peer, ratio, getattr(bars, bar), at_most=True))
        return told

    def troubles(self) -> list[str]:
        """Sentences about cells that are not to be trusted as they are."""
        told = []
        if self.saturation is not None and (failed := self.saturation.get("failed")):
            first = self.saturation["first_failure"]
            why = f"{failed} requests failed, the first: {first}"
            told.append(f"{self.peer}, saturation: {why}; loads are shares of too little")
        for line in self.visits:
            for one in line["cells"]:
                where = f"{line['system']}, repeat {line['repeat'] + 1}, {one['cell']}"
                if one["failed"]:
                    told.append(f"{where}: {one['failed']} requests failed, the first: {one['first_failure']}")
                if not one["trustworthy"]:
                    told.append(f"{where}: the generator was {one['lag_p99_ms']:.0f} ms late (P99), do not trust it")
        return told
