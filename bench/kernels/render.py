"""The study as a table for a person and as lines of JSON for a program.

Owns labels, units and rounding. It computes nothing that is not in the rows; the command calls it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict

from ...kernels.compiled.size_file import SizeKey
from ..machine import DeviceFacts
from .search import Found
from .study import KernelRow, SpeedRow

DASH = "-"
COLUMNS = (
    ("kernel", -26),
    ("", -12),
    ("us", 10),
    ("spread", 7),
    ("GB/s", 8),
    ("GFLOP/s", 9),
    ("roofline", 9),
    ("skipjoin/it", 12),
    ("error", 9),
)


def _line(cells: Sequence[str]) -> str:
    padded = [
        cell.rjust(width) if width > 0 else cell.ljust(-width) for cell, (_, width) in zip(cells, COLUMNS, strict=True)
    ]
    return " ".join(padded).rstrip()


def head(title: str, facts: DeviceFacts, rounds: int) -> str:
    """Which machine, and what the columns are."""
    lines = [
        f"Kernels for {title}, {facts.dtype}",
        facts.sentence(),
        f"Medians of {rounds} rounds in which all take turns; spread: largest less smallest, over the median",
    ]
    if facts.device == facts.processor:
        lines.append(
            "No CUDA device: these are the CPU's kernels. Triton's interpreter is a check, not a speed, and is not timed"
        )
    return "\n".join([*lines, "", _line([name for name, _ in COLUMNS])])


def row_line(row: KernelRow, *, first: bool) -> str:
    """A line of the table; the case's name stands at its first."""
    name = row.case if first else ""
    if not row.right:
        error = DASH if row.error is None else _error(row)
        said = f"did not run: {row.absent}" if row.absent else f"WRONG, {error} of {row.bound:g} allowed"
        return f"{name:<26} {row.contestant:<12} {said}"
    spread = DASH
    if row.us and row.us_min is not None and row.us_max is not None:
        spread = f"{(row.us_max - row.us_min) / row.us:.0%}"
    cells = [
        name,
        row.contestant,
        _number(row.us),
        spread,
        _number(row.gb_s),
        _number(row.gflop_s),
        DASH if row.roofline is None else f"{row.roofline:.0%}",
        DASH if row.ours_over_it is None else f"{row.ours_over_it:.2f}",
        _error(row),
    ]
    line = _line(cells)
    return f"{line}\n{'':<39} launched kernel by kernel: {row.unrecorded}" if row.unrecorded else line


def tail(speeds: Sequence[SpeedRow]) -> str:
    """The rooflines."""
    names = {
        "copy": "copy, read and written",
        "gemm": "matrix product",
        "out": "pinned copy out",
        "in": "pinned copy in",
    }
    lines = [
        f"{names[one.name]:<24} {one.median:,.1f} {one.unit} ({one.low:,.1f} to {one.high:,.1f})" for one in speeds
    ]
    lines.append(
        "Above 100 %: the data stayed in a cache that the copy does not fit, or torch's product is slow in this dtype"
    )
    return "\n".join(["", "Rooflines, measured between the kernels", *lines])


def machine_line(title: str, facts: DeviceFacts, rounds: int) -> dict[str, object]:
    """The first line for a program."""
    return {"kind": "machine", "title": title, "rounds": rounds, **asdict(facts)}


def row_as_json(row: KernelRow | SpeedRow) -> dict[str, object]:
    """The line of a row. What is not finite is null: JSON has no word for it."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in row.as_json().items()
    }


def _number(value: float | None) -> str:
    if value is None:
        return DASH
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}" if value < 100 else f"{value:.0f}"


def _error(row: KernelRow) -> str:
    if row.error is None:
        return DASH
    return "0" if row.error == 0 else f"{row.error:.1e}"


def tune_head(facts: DeviceFacts) -> str:
    """Which device, and what the columns are."""
    columns = f"{'attention':<24} {'us':>9} {'by rule':>9} {'gain':>6} {'tried':>6} {'refused':>8}  sizes"
    return f"Kernel sizes for {facts.device}, {facts.dtype}, torch {facts.torch}, triton {facts.triton}\n\n{columns}"


def found_line(key: SizeKey, best: Found | None) -> str:
    """The choice for one kind of batch."""
    name = f"{'chunks' if key.chunks else 'decode'}, head size {key.head_dim}"
    if best is None:
        return f"{name:<24} no candidate runs here and computes what it should; the rule stays"
    gain = DASH if best.gain is None else f"{best.gain:.0%}"
    sizes = ", ".join(f"{field} {value}" for field, value in asdict(best.sizes).items())
    times = f"{_number(best.us):>9} {_number(best.rule_us):>9} {gain:>6}"
    return f"{name:<24} {times} {best.tried:>6} {best.refused:>8}  {sizes}"


def tune_tail(path: str, *, own: bool) -> str:
    """Where they are, and who uses them."""
    use = (
        "Every start on this device uses them from now on."
        if own
        else "They are used when the file lies in skipjoin/kernel-sizes of the user's configuration folder (~/.config)."
    )
    return f"\nwritten to {path}\n{use} To ship them, put the file into kernels/compiled/sizes."
