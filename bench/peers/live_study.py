"""What a comparison of servers amounts to: medians, ratios within a repeat, verdicts.

Owns the arithmetic on the lines of a file; `contest` makes them.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..figures import Spread
from .scenario import CLOSED, LiveScenario
from .verdict import Verdict
from .visit import Line

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
