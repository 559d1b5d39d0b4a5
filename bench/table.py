"""The one look of a table on a terminal: columns, numbers, verdicts.

`grid` lays out a whole table; `Columns` prints one line by line while rows still come. It prints
nothing itself and knows no figure: each room's `render` says what stands in its cells.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import StringIO

from rich.console import Console
from rich.table import Table
from rich.text import Text

from .figures import Spread

DASH = "-"
WIDEST = 10_000
"""Columns of the terminal that a table is laid out for: a line is never broken."""


def grid(lines: Sequence[Sequence[str]], left: int = 1) -> str:
    """Columns as wide as needed, the first `left` of them to the left; a newline at the end."""
    made = Table(box=None, show_header=False, pad_edge=False, padding=(0, 1))
    for at in range(len(lines[0])):
        made.add_column(justify="left" if at < left else "right", no_wrap=True)
    for cells in lines:
        made.add_row(*map(Text, cells))
    console = Console(file=StringIO(), width=WIDEST, color_system=None)
    with console.capture() as drawn:
        console.print(made)
    return "".join(f"{line.rstrip()}\n" for line in drawn.get().splitlines())


def markdown(lines: Sequence[Sequence[str]]) -> str:
    """The same as `grid`, for a document: the first column to the left; a newline at the end."""
    rule = ["---", *["--:"] * (len(lines[0]) - 1)]
    written = [f"| {' | '.join(cells)} |" for cells in lines]
    return "\n".join([written[0], f"|{'|'.join(rule)}|", *written[1:], ""])


@dataclass(frozen=True, slots=True)
class Columns:
    """Columns of known width, (name, width) each; a negative width is one to the left."""

    columns: tuple[tuple[str, int], ...]

    @property
    def head(self) -> str:
        """The names."""
        return self.line(*(name for name, _ in self.columns))

    def line(self, *cells: str) -> str:
        """One row; cells that are left out at its end are empty."""
        widths = (width for _, width in self.columns)
        padded = (
            cell.rjust(width) if width > 0 else cell.ljust(-width) for cell, width in zip(cells, widths, strict=False)
        )
        return " ".join(padded).rstrip()


def known(value: float | None, form: str | Callable[[float], str]) -> str:
    """The value in that form, as `format` or a function takes it; a dash where there is none."""
    if value is None:
        return DASH
    return format(value, form) if isinstance(form, str) else form(value)


def ranged(spread: Spread | None, form: str) -> str:
    """Median and range: 12 (10-15)."""
    if spread is None:
        return DASH
    return f"{spread.median:{form}} ({spread.low:{form}}-{spread.high:{form}})"


def number(value: float | None) -> str:
    """Three digits, more where they stand before the point."""
    if value is None:
        return DASH
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}" if value < 100 else f"{value:.0f}"


def percent(value: float) -> str:
    """In percent, below 10 % to a tenth."""
    return f"{value:.1%}" if abs(value) < 0.1 else f"{value:.0%}"


def seconds(value: float) -> str:
    """To a millisecond, from 100 s on to a tenth."""
    return f"{value:.3f}" if value < 100 else f"{value:.1f}"


def verdict(holds: bool | None) -> str:
    """Four letters in front of a line; blank where nothing is asked or known."""
    return "    " if holds is None else "ok  " if holds else "FAIL"
