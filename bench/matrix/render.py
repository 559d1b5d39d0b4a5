"""A matrix for the terminal: the summary table.

Owns columns and rounding of the summary, which the report's tables use too. It computes no ratio.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..table import grid
from .summary import Row, Spread

DASH = "-"


def _both(spread: Spread | None) -> str:
    return DASH if spread is None else f"{spread.mean:.2f} / {spread.high:.2f}"


def _lowest(spread: Spread | None) -> str:
    return DASH if spread is None else f"{spread.mean:.3f} / {spread.low:.3f}"


def _mean(spread: Spread | None) -> str:
    return DASH if spread is None else f"{spread.mean:.2f}"


COLUMNS: tuple[tuple[str, str, Callable[[Row], str]], ...] = (
    ("loads <= 0.95", "mean/oracle", lambda row: _both(row.edge_mean_to_oracle)),
    ("loads <= 0.95", "mean/fcfs", lambda row: _both(row.edge_mean_to_fcfs)),
    ("loads <= 0.95", "P99/fcfs", lambda row: _both(row.edge_p99_to_fcfs)),
    ("overload", "mean/oracle", lambda row: _both(row.over_mean_to_oracle)),
    ("overload", "mean/fcfs", lambda row: _both(row.over_mean_to_fcfs)),
    ("overload", "P99/fcfs", lambda row: _both(row.over_p99_to_fcfs)),
    ("all loads", "normalised/fcfs", lambda row: _both(row.normalised_to_fcfs)),
    ("all loads", "TPOT/fcfs", lambda row: _both(row.tpot_to_fcfs)),
    ("all loads", "throughput/fcfs", lambda row: _lowest(row.throughput_to_fcfs)),
    ("all loads", "preempt./job", lambda row: _mean(row.preemptions)),
    ("all loads", "GB moved", lambda row: DASH if row.gigabytes is None else f"{row.gigabytes.mean:,.0f}"),
)
"""Group, title and text of the numbers of a row: average over cells / worst cell."""

LEGEND = "average over cells / worst cell; fcfs is the better of its two forms per cell and measure; oracle: srpt-oracle, lengths known, moves free"


def print_summary(rows: Sequence[Row], folder: str) -> None:
    """A line a number, a column a policy."""
    lines = [["", *(row.policy for row in rows)], ["cells", *(str(row.cells) for row in rows)]]
    lines += [[f"{group}: {title}", *(show(row) for row in rows)] for group, title, show in COLUMNS]
    print(f"{grid(lines)}\n{LEGEND}\nskipjoin bench report {folder} --out FILE.html draws it")
