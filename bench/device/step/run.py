"""`skipjoin bench step`, as its flags say.

Owns what is printed: labels, units, rounding and the words of a verdict.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import groupby

from ....console.output_file import write
from ....core.clock import MonotonicClock
from ....executor.current_device import computing_on
from ...charts.bars import Bar as Drawn
from ...charts.bars import BarChart, bar_sheet
from ...json_file import json_lines
from ...machine import DeviceFacts, device_facts
from ...progress import Bar
from ...table import Columns, number, percent
from ..command import CACHED, SHIPPED, chosen_device, chosen_dtype, chosen_file, device_flags, print_rows, print_tail
from .cases import samples, study
from .row import AT_MOST, COPY_SHARE, IDLE, MEMORY_COPY, ROOFLINE, SLOWER, Absent, Row
from .scenario import FOLDER, StepScenario, load_steps
from .stage import staged

COLUMNS = Columns(
    (
        ("case", -26),
        ("", -30),
        ("median", 12),
        ("spread", 7),
        ("tokens/s", 9),
        ("share (range)", 21),
        ("of", -22),
        ("target", 0),
    )
)
WORDS = {SLOWER: "slower than without", IDLE: "of the time idle"}
LOOKS = {
    ROOFLINE: ("of the roofline", "blue"),
    COPY_SHARE: ("of a copy", "aqua"),
    SLOWER: ("slower by moves", "orange"),
    IDLE: ("of the time idle", "violet"),
}
LONGEST = 1.25


def configure(parser: argparse.ArgumentParser) -> None:
    """The flags of `bench step`."""
    flags = device_flags(
        parser, "as the scenario says", "iterations of your own, as those in bench/device/step/scenarios"
    )
    flags.value("only", "NAME", "decode, prefill, moves or idle, or part of a case's name")


def run(args: argparse.Namespace) -> int:
    """Measure; 1 when a target was missed or a case did not run. Raises SkipjoinError."""
    device = chosen_device(args)
    scenario = load_steps(chosen_file(args, FOLDER, SHIPPED[device.type])).only(args.only)
    dtype = chosen_dtype(args, scenario.dtype, device)
    facts, rounds = device_facts(device, dtype), args.repeats
    with Bar() as bar, computing_on(device), json_lines(args.json) as add:
        bar.note(f"Drawing {scenario.model} on {device} and starting its executor ...")
        with staged(scenario, device, dtype, MonotonicClock()) as stage:
            print(_head(scenario, facts, rounds), flush=True)
            bar.begin("rounds of all cases", samples(scenario, rounds, ahead=stage.ahead))
            add({"kind": "machine", "rounds": rounds, **asdict(facts), "scenario": scenario.model_dump(mode="json")})
            lines = study(scenario, stage, rounds, lambda: bar.ended(1))
            shown, speeds = print_rows(lines, row_line, add, lambda _: None)
    rows = [row for row in shown if isinstance(row, Row)]
    print_tail("Speeds, measured between the iterations", speeds, list(_notes(rows)))
    if args.plot is not None:
        write(args.plot, picture_of(rows, facts, scenario.title) + "\n", "plot")
    return 1 if len(rows) < len(shown) or any(row.holds is False for row in rows) else 0


def _head(scenario: StepScenario, facts: DeviceFacts, rounds: int) -> str:
    lines = [
        f"Whole iterations of {scenario.title}, {facts.dtype}",
        facts.sentence(),
        f"Medians of {rounds} rounds in which all lines of a case and the probes take turns; "
        "spread: largest less smallest, over the median",
    ]
    if facts.on_cpu and "cpu" not in scenario.bars_for:
        lines.append("The targets are for a CUDA device; here is none, so none is applied")
    return "\n".join([*lines, "", COLUMNS.head])


def row_line(row: Row | Absent, case: str) -> str:
    """A line of the table; `case` stands at its head."""
    if isinstance(row, Absent):
        return COLUMNS.line(case, f"did not run: {row.why}")
    value, share = row.value, row.share
    return COLUMNS.line(
        case,
        row.what,
        f"{number(value.median)} {row.unit}",
        f"{value.relative:.0%}",
        number(row.tokens_per_s),
        "" if share is None else f"{percent(share.median)} ({percent(share.low)} to {percent(share.high)})",
        _of(row),
        _target(row),
    )


def _notes(rows: Sequence[Row]) -> Iterator[str]:
    if any(row.of == ROOFLINE and row.share is not None and row.share.median > 1 for row in rows):
        yield CACHED
    if any(row.of == COPY_SHARE and row.bound == MEMORY_COPY for row in rows):
        yield "A memory copy moves half of the first line: it reads and writes every byte"
    if noted := [row for row in rows if row.note]:
        yield "* what the steps asked for, not what could be moved: more `in_flight` would ask for more"
        yield from (f"  {row.case}, {row.what}: {row.note}" for row in noted)
    if judged := [row for row in rows if row.holds is not None]:
        missed = [row for row in judged if not row.holds]
        yield f"\n{len(judged) - len(missed)} of {len(judged)} targets held"
        yield from (
            f"missed: {row.case}, {row.what}: {percent(row.share.median)} {_of(row)}" for row in missed if row.share
        )


def _of(row: Row) -> str:
    if row.of == ROOFLINE:
        return f"of the {row.bound} roofline"
    if row.of == COPY_SHARE:
        return f"of a {row.bound} copy{'*' if row.note else ''}"
    return "" if row.of is None else WORDS[row.of]


def _target(row: Row) -> str:
    if row.target is None:
        return ""
    sign = "<=" if row.of in AT_MOST else ">="
    return f"{sign} {row.target:.0%} {'ok' if row.holds else 'MISSED'}"


def picture_of(rows: Sequence[Row], facts: DeviceFacts, name: str) -> str:
    """A bar a line, as long as its share, with its target as a stroke; an SVG file."""
    shown = [row for row in rows if row.of is not None and row.share is not None]
    colours = dict(LOOKS[of] for row in shown if (of := row.of) is not None)
    groups = [[_bar(row) for row in mine] for _, mine in groupby(shown, key=lambda row: row.case)]
    chart = BarChart(groups, f"Whole iterations of {name}, {facts.dtype}", "share", LONGEST, colours)
    words = "Shares of rooflines and copies, and of time, by iteration"
    return bar_sheet(words, [chart], 860.0, facts.sentence())


def _bar(row: Row) -> Drawn:
    assert row.share is not None and row.of is not None, "only rows with a share are drawn"
    (word, colour), share = LOOKS[row.of], row.share.median
    said = f"{row.case}, {row.what}: {row.value.median:.3g} {row.unit}, {share:.1%} {word}"
    return Drawn(f"{row.case}: {row.what}", share, colour, said, target=row.target)
