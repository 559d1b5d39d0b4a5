"""A live comparison as lines for a person.

Owns labels, rounding and the words of a verdict. It computes nothing that is not in the standings; the command calls it.
"""

from __future__ import annotations

from ..figures import Spread
from ..machine import MachineFacts
from ..table import DASH, grid
from .figures import MEASURES, THROUGHPUT, Standings


def print_head(facts: MachineFacts, peer: str) -> None:
    """On what, against whom."""
    print(facts.sentence())
    print(
        f"Against {peer}. Servers run one after the other; the load generator and the HTTP door share the processors with each of them alike.",
        flush=True,
    )


def print_standings(standings: Standings, whole: bool) -> None:
    """A scenario: figures, ratios, verdicts."""
    scenario = standings.scenario
    print(f"\n{scenario.title}: {scenario.about}")
    print(
        f"Model {scenario.model}, float32, {scenario.slots} slots, {scenario.threads} compute threads (peer {scenario.peer_threads}),"
        f" {scenario.kv_gib} GiB of KV, {scenario.requests} requests a cell, {scenario.repeats} interleaved repeats, seed {scenario.seed}"
    )
    if standings.saturation is not None:
        drains = ", ".join(f"{rate:.2f}" for rate in standings.saturation["drains"])
        print(
            f"Saturation of {standings.peer}: {standings.saturation['rate_per_s']:.2f} requests a second (drains: {drains})"
        )
    if not whole:
        print("Not all visits are made yet: run again with the same --json to go on.")
    systems = standings.systems
    if not systems:
        return
    lines = [["median (smallest-largest)", *systems]]
    for cell in scenario.cells:
        fields = [] if cell.load is None else [(f"{label} (s)", field, "{:.2f}") for label, field, _ in MEASURES]
        for label, field, form in (*fields, ("output tokens a second", THROUGHPUT, "{:,.0f}")):
            spreads = [standings.spread(system, cell.name, field) for system in systems]
            lines.append([f"{cell.name}: {label}", *(_spread(spread, form) for spread in spreads)])
    print("\n" + grid(lines))
    _print_ratios(standings)
    for trouble in standings.troubles():
        print(trouble)


def _print_ratios(standings: Standings) -> None:
    scenario, ours = standings.scenario, standings.scenario.policies[0]
    fields = {label: field for label, field, _ in MEASURES} | {"throughput": THROUGHPUT}
    others = [name for name in scenario.policies[1:] if name in standings.systems]
    head = [f"over {standings.peer}", f"{ours}", "target", "", *others, *(f"{ours}/{name}" for name in others)]
    lines = [head]
    for verdict in standings.verdicts():
        field = fields[verdict.label]
        word = {None: "not measured", True: "ok", False: "MISSED"}[verdict.holds]
        lines.append(
            [
                f"{verdict.cell}: {verdict.label}",
                _spread(verdict.ratio, "{:.2f}"),
                f"{'<=' if verdict.at_most else '>='} {verdict.limit:g}",
                word,
                *(_spread(standings.ratio(name, standings.peer, verdict.cell, field), "{:.2f}") for name in others),
                *(_spread(standings.ratio(ours, name, verdict.cell, field), "{:.2f}") for name in others),
            ]
        )
    print(grid(lines), flush=True)


def _spread(spread: Spread | None, form: str) -> str:
    if spread is None:
        return DASH
    return f"{form.format(spread.median)} ({form.format(spread.low)}-{form.format(spread.high)})"
