"""The study as a table for a person and as lines of JSON for a program.

Owns labels, units, rounding and the words of a verdict. It computes nothing that is not in the rows; the command calls it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from ..kernels.study import SpeedRow
from ..machine import DeviceFacts
from .figures import AT_MOST, COPY_SHARE, IDLE, MEMORY_COPY, ROOFLINE, SLOWER, Absent, Row
from .scenario import StepScenario

DASH = "-"
COLUMNS = (
    ("case", -26),
    ("", -30),
    ("median", 12),
    ("spread", 7),
    ("tokens/s", 9),
    ("share (range)", 21),
    ("of", -22),
    ("target", 0),
)
WORDS = {SLOWER: "slower than without", IDLE: "of the time idle"}


def head(scenario: StepScenario, facts: DeviceFacts, rounds: int) -> str:
    """Which machine, what is judged, and what the columns are."""
    lines = [
        f"Whole iterations of {scenario.title}, {facts.dtype}",
        facts.sentence(),
        f"Medians of {rounds} rounds in which all lines of a case and the probes take turns; spread: largest less smallest, over the median",
    ]
    if facts.device == facts.processor and "cpu" not in scenario.bars_for:
        lines.append("The targets are for a CUDA device; here is none, so none is applied")
    return "\n".join([*lines, "", _line([name for name, _ in COLUMNS])])


def row_line(row: Row | Absent, *, first: bool) -> str:
    """A line of the table; the case's name stands at its first."""
    name = row.case if first else ""
    if isinstance(row, Absent):
        return f"{name:<26} did not run: {row.why}"
    value, share = row.value, row.share
    cells = [
        name,
        row.what,
        f"{_number(value.median)} {row.unit}",
        f"{(value.high - value.low) / value.median:.0%}" if value.median else DASH,
        DASH if row.tokens_per_s is None else _number(row.tokens_per_s),
        "" if share is None else f"{_share(share.median)} ({_share(share.low)} to {_share(share.high)})",
        _of(row),
        _target(row),
    ]
    return _line(cells)


def tail(speeds: Sequence[SpeedRow], rows: Sequence[Row | Absent]) -> str:
    """What the shares are of, and how many targets held."""
    names = {
        "copy": "copy, read and written",
        "gemm": "matrix product",
        "out": "pinned copy out",
        "in": "pinned copy in",
    }
    lines = [
        f"{names[one.name]:<24} {one.median:,.1f} {one.unit} ({one.low:,.1f} to {one.high:,.1f})" for one in speeds
    ]
    if any(
        isinstance(row, Row) and row.share is not None and row.of == ROOFLINE and row.share.median > 1 for row in rows
    ):
        lines.append(
            "Above 100 %: data stayed in a cache that the copy does not fit, or torch's product is slow in this dtype"
        )
    if any(isinstance(row, Row) and row.of == COPY_SHARE and row.bound == MEMORY_COPY for row in rows):
        lines.append("A memory copy moves half of the first line: it reads and writes every byte")
    noted = [row for row in rows if isinstance(row, Row) and row.note]
    if noted:
        lines.append("* what the steps asked for, not what could be moved: more `in_flight` would ask for more")
        lines += [f"  {row.case}, {row.what}: {row.note}" for row in noted]
    judged = [row for row in rows if isinstance(row, Row) and row.holds is not None]
    missed = [row for row in judged if not row.holds]
    if judged:
        lines.append(f"\n{len(judged) - len(missed)} of {len(judged)} targets held")
        lines += [
            f"missed: {row.case}, {row.what}: {_share(row.share.median)} {_of(row)}" for row in missed if row.share
        ]
    head = ["Speeds, measured between the iterations"] if speeds else []
    return "\n".join(["", *head, *lines])


def machine_line(scenario: StepScenario, facts: DeviceFacts, rounds: int) -> dict[str, object]:
    """The first line for a program."""
    return {"kind": "machine", "rounds": rounds, **asdict(facts), "scenario": scenario.model_dump(mode="json")}


def row_as_json(row: Row | Absent | SpeedRow) -> dict[str, object]:
    """The line of a row: of what is measured the case's kind stands under `measured`."""
    if isinstance(row, SpeedRow):
        return row.as_json()
    told = asdict(row)
    kind = "absent" if isinstance(row, Absent) else "step"
    more = {} if isinstance(row, Absent) else {"holds": row.holds}
    return {"kind": kind, "measured": told.pop("kind"), **told, **more}


def _line(cells: Sequence[str]) -> str:
    padded = [
        cell.rjust(width) if width > 0 else cell.ljust(-width) for cell, (_, width) in zip(cells, COLUMNS, strict=True)
    ]
    return " ".join(padded).rstrip()


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


def _share(value: float) -> str:
    return f"{value:.1%}" if abs(value) < 0.1 else f"{value:.0%}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}" if value < 100 else f"{value:.0f}"
