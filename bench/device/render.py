"""Rows of `bench kernels` and `bench step` as they come: a line for a person, an object for a
program.

Owns the order on the screen. What stands in a line is the rows' own; figures are theirs too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from ..json_file import Add
from .roofline import SpeedRow

CACHED = "Above 100 %: the data stayed in a cache that the copy does not fit, or torch's product is slow in this dtype"


class CaseRow(Protocol):
    """A row of the table; rows of one case come one behind the other."""

    @property
    def case(self) -> str:
        """The case's name, printed in front of its first row."""
        ...

    def as_json(self) -> dict[str, object]:
        """The line of the file."""
        ...


R = TypeVar("R", bound=CaseRow)


def print_rows(
    rows: Iterable[R | SpeedRow], line_of: Callable[[Any, str], str], add: Add, ended: Callable[[bool], None]
) -> tuple[list[R], list[SpeedRow]]:
    """Print and write each row as it comes, and return all of them.

    `line_of`: a row's line, with the case's name or "". `ended` hears of every row, and whether it
    is the first of its case.
    """
    shown: list[R] = []
    speeds: list[SpeedRow] = []
    for row in rows:
        add(finite(row.as_json()))
        if isinstance(row, SpeedRow):
            speeds.append(row)
            continue
        first = not shown or shown[-1].case != row.case
        print(line_of(row, row.case if first else ""), flush=True)
        ended(first)
        shown.append(row)
    return shown, speeds


def print_tail(head: str, speeds: Sequence[SpeedRow], notes: Sequence[str]) -> None:
    """The rooflines, then what is to be said of them."""
    print("\n".join(["", *([head] if speeds else []), *map(str, speeds), *notes]))


def finite(line: Mapping[str, object]) -> dict[str, object]:
    """What is not finite is null: JSON has no word for it."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in line.items()
    }
