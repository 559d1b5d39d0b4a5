"""What a matrix says: measures of a cell, and ratios of policies to the oracle and to `fcfs`.

A cell is a trace at a load and a batch; its measure is the mean over the seeds that all its
policies have. `fcfs` is the better of its two forms, per cell and measure. Terminal, page and
Markdown show the same `FIGURES`.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

from ...scheduler.registry import ORACLE_NAMES
from ..table import DASH

Line = dict[str, Any]
ORACLE = "srpt-oracle"
FCFS = ("fcfs", "fcfs-swap")
HIGHEST_EDGE = 0.95
"""Loads up to this one are steady; those above are overload, which only drains because the run
ends.
"""


def knows_lengths(policy: str) -> bool:
    """Whether a policy is told what no server can know: a yardstick and no competitor."""
    return policy in ORACLE_NAMES


class Cell(NamedTuple):
    """A trace at a load and a batch."""

    trace: str
    load: float
    batch: int


MEASURES: dict[str, Callable[[Line], float | None]] = {
    "mean": lambda line: line["result"]["mean_jct_s"],
    "p99": lambda line: line["result"]["p99_jct_s"],
    "normalised": lambda line: line["result"]["mean_normalized_latency_s"],
    "ttft": lambda line: line["result"]["mean_ttft_s"],
    "tpot": lambda line: line["result"]["mean_tpot_s"],
    "throughput": lambda line: line["result"]["output_token_throughput"],
    "slowdown": lambda line: line["result"]["max_slowdown"],
    "preemptions": lambda line: line["result"]["preemptions"] / line["result"]["requests"],
    "gigabytes": lambda line: line["result"]["bytes_moved"] / 1e9,
    "alone": lambda line: line["bounds"]["alone"],
    "work": lambda line: line["bounds"]["work"],
}
MORE_IS_BETTER = {"throughput"}


@dataclass(frozen=True, slots=True)
class Results:
    """Every cell's policies with their measures and the quantiles of their JCT, pooled over seeds."""

    measures: dict[Cell, dict[str, dict[str, float]]]
    quantiles: dict[Cell, dict[str, list[float]]]
    seeds: dict[Cell, int]

    @property
    def policies(self) -> list[str]:
        """All policies, in order of appearance."""
        return list(dict.fromkeys(policy for of in self.measures.values() for policy in of))

    @property
    def cells(self) -> list[Cell]:
        """All cells by trace, batch and load: processes end in any order."""
        return sorted(self.measures, key=lambda cell: (cell.trace, cell.batch, cell.load))

    def fcfs(self, cell: Cell, measure: str) -> float | None:
        """The better of the two forms of `fcfs` that are there."""
        found = [self.measures[cell][name].get(measure) for name in FCFS if name in self.measures[cell]]
        values = [value for value in found if value is not None]
        if not values:
            return None
        return max(values) if measure in MORE_IS_BETTER else min(values)

    def oracle(self, cell: Cell, measure: str) -> float | None:
        """The oracle's."""
        return self.measures[cell].get(ORACLE, {}).get(measure)

    def to_fcfs(self, cell: Cell, policy: str, measure: str) -> float | None:
        """A policy's measure over that of `fcfs`; None where either is missing."""
        return _over(self.measures[cell].get(policy, {}).get(measure), self.fcfs(cell, measure))

    def to_oracle(self, cell: Cell, policy: str, measure: str = "mean") -> float | None:
        """A policy's measure over the oracle's; None where either is missing."""
        return _over(self.measures[cell].get(policy, {}).get(measure), self.oracle(cell, measure))


def collect(lines: Iterable[Line]) -> Results:
    """Results of the runs that compare with the last one: as many requests, the same profile."""
    runs: dict[Cell, dict[str, dict[tuple[int, str], Line]]] = defaultdict(lambda: defaultdict(dict))
    mine = [line for line in lines if line["kind"] == "run"]
    for line in mine:
        key = line["key"]
        if all(key[name] == mine[-1]["key"][name] for name in ("requests", "warmup", "profile")):
            cell = Cell(key["trace"], key["load"], key["batch"])
            runs[cell][key["policy"]][key["seed"], key["inputs"]] = line
    results = Results({}, {}, {})
    for cell, policies in runs.items():
        shared = set.intersection(*(set(by_seed) for by_seed in policies.values()))
        if not shared:
            continue
        results.seeds[cell] = len(shared)
        chosen = {policy: [by_seed[seed] for seed in sorted(shared)] for policy, by_seed in policies.items()}
        results.measures[cell] = {policy: _measures(kept) for policy, kept in chosen.items()}
        results.quantiles[cell] = {
            policy: sorted(value for line in kept for value in line["jct_s"]) for policy, kept in chosen.items()
        }
    return results


def _measures(lines: list[Line]) -> dict[str, float]:
    found: dict[str, float] = {}
    for name, read in MEASURES.items():
        values = [value for line in lines if (value := read(line)) is not None]
        if values:
            found[name] = math.fsum(values) / len(values)
    return found


def _over(value: float | None, base: float | None) -> float | None:
    return None if value is None or not base else value / base


@dataclass(frozen=True, slots=True)
class Average:
    """Ratios over cells: their mean, the lowest and the highest."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Figure:
    """A number of the summary: an average over the cells of a group, and the `worst` of them,
    "high" or "low".

    `of`: (results, cell, policy). `form`: as `format` takes it.
    """

    group: str
    title: str
    of: Callable[[Results, Cell, str], float | None]
    form: str = ".2f"
    worst: str | None = "high"

    def covers(self, cell: Cell) -> bool:
        """Whether the cell is of the group."""
        return self.group == ALL or (self.group == STEADY) is (cell.load <= HIGHEST_EDGE)

    def text(self, row: Row) -> str:
        """Of a policy: average / worst."""
        average = row.averages[self.group, self.title]
        if average is None:
            return DASH
        worst = "" if self.worst is None else f" / {getattr(average, self.worst):{self.form}}"
        return f"{average.mean:{self.form}}{worst}"


STEADY, OVERLOAD, ALL = "loads <= 0.95", "overload", "all loads"


def _to_fcfs(measure: str) -> Callable[[Results, Cell, str], float | None]:
    return lambda results, cell, policy: results.to_fcfs(cell, policy, measure)


def _plain(measure: str) -> Callable[[Results, Cell, str], float | None]:
    return lambda results, cell, policy: results.measures[cell][policy].get(measure)


FIGURES = (
    *(
        figure
        for group in (STEADY, OVERLOAD)
        for figure in (
            Figure(group, "mean/oracle", Results.to_oracle),
            Figure(group, "mean/fcfs", _to_fcfs("mean")),
            Figure(group, "P99/fcfs", _to_fcfs("p99")),
        )
    ),
    Figure(ALL, "normalised/fcfs", _to_fcfs("normalised")),
    Figure(ALL, "TPOT/fcfs", _to_fcfs("tpot")),
    Figure(ALL, "throughput/fcfs", _to_fcfs("throughput"), ".3f", "low"),
    Figure(ALL, "preempt./job", _plain("preemptions"), worst=None),
    Figure(ALL, "GB moved", _plain("gigabytes"), ",.0f", None),
)
LEGEND = (
    "average over cells / worst cell; fcfs is the better of its two forms per cell and measure; "
    "oracle: srpt-oracle, lengths known, moves free"
)


@dataclass(frozen=True, slots=True)
class Row:
    """A policy in the summary; `averages` by group and title, None where no cell says it."""

    policy: str
    cells: int
    averages: dict[tuple[str, str], Average | None]


def summary(results: Results) -> list[Row]:
    """A row a policy, over all cells that have it."""
    rows = []
    for policy in results.policies:
        mine = [cell for cell in results.cells if policy in results.measures[cell]]
        averages = {
            (figure.group, figure.title): average_of(
                figure.of(results, cell, policy) for cell in mine if figure.covers(cell)
            )
            for figure in FIGURES
        }
        rows.append(Row(policy, len(mine), averages))
    return rows


def average_of(values: Iterable[float | None]) -> Average | None:
    """None of no values."""
    known = [value for value in values if value is not None]
    return Average(math.fsum(known) / len(known), min(known), max(known)) if known else None
