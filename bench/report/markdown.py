"""The tables of a matrix in Markdown, for a document."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..charts.looks import ordered
from ..matrix.summary import FIGURES, LEGEND, ORACLE, Results, collect, summary
from ..table import known


def markdown(lines: Sequence[dict[str, Any]]) -> str:
    """The summary, and mean and P99 of every cell."""
    results = collect(lines)
    order = ordered(results.policies)
    rows = sorted(summary(results), key=lambda row: order.index(row.policy))
    head = ["policy", *(f"{one.group}: {one.title}" for one in FIGURES)]
    body = [[f"`{row.policy}`", *(one.text(row) for one in FIGURES)] for row in rows]
    policies = [name for name in order if name != ORACLE]
    cells = ["trace", "batch", "load", "alone (s)", "work (s)", f"`{ORACLE}` (s)", *(f"`{name}`" for name in policies)]
    return "\n".join(
        [
            *table(head, body),
            "",
            f"{LEGEND[0].upper()}{LEGEND[1:]}. Code {lines[-1]['code']}.",
            "",
            *table(cells, _cells(results, policies)),
            "",
            "Mean JCT in seconds of the two bounds and the oracle; of a policy its mean over the oracle's "
            "and its P99 over that of `fcfs`.",
            "",
        ]
    )


def _cells(results: Results, policies: list[str]) -> list[list[str]]:
    body = []
    for cell in results.cells:
        any_of = next(iter(results.measures[cell].values()))
        limits = [any_of.get("alone"), any_of.get("work"), results.oracle(cell, "mean")]
        ratios = [
            f"{known(results.to_oracle(cell, name), '.2f')}, {known(results.to_fcfs(cell, name, 'p99'), '.2f')}"
            for name in policies
        ]
        seconds = [known(value, ".3g") for value in limits]
        body.append([cell.trace, str(cell.batch), f"{cell.load:g}", *seconds, *ratios])
    return body


def table(head: list[str], body: list[list[str]]) -> list[str]:
    """The lines of a Markdown table, numbers to the right."""
    rule = "|".join(["---", *["--:"] * (len(head) - 1)])
    return [f"| {' | '.join(head)} |", f"|{rule}|", *(f"| {' | '.join(row)} |" for row in body)]
