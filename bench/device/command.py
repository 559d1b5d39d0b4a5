"""What `bench kernels` and `bench step` have in common: where they compute, as their flags say, and
their rows as they come, a line for a person and an object for a program.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch

from ...console.json_flag import add_json_flag
from ...core.errors import InvalidSettings
from ...executor.capacity import resolve_device, resolve_dtype, use_threads
from ..flags import Flags, check_bounds
from ..json_file import Add
from .race import SpeedRow

ROUNDS, THREADS = (3, 1000), (1, 1024)
SHIPPED = {"cpu": "small.toml", "cuda": "llama-3-8b.toml"}
"""Device type -> the scenario that is measured unless another is named."""

BOUNDS = {torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 1e-2}
"""Dtype -> the largest error of a kernel, as a share of the largest number of the truth."""


def device_flags(parser: argparse.ArgumentParser, dtype: str, scenario: str) -> Flags:
    """The flags that `bench kernels` and `bench step` have in common."""
    flags = Flags(parser)
    flags.value("device", "DEVICE", "auto, cpu, cuda, cuda:N", "auto")
    flags.value("dtype", "DTYPE", f"float32, float16, bfloat16, auto (default: {dtype})")
    flags.value("threads", "N", "CPU threads (default: as serve)", kind=int)
    flags.value("scenario", "FILE", scenario)
    flags.value("repeats", "N", "rounds, at least 3", 5)
    add_json_flag(parser, "the figures, a line each,")
    flags.value("plot", "FILE", "write a picture there (SVG)")
    return flags


def chosen_device(args: argparse.Namespace) -> torch.device:
    """The device, after the bounds of rounds and threads were checked. Raises InvalidSettings."""
    check_bounds(args, repeats=ROUNDS, threads=THREADS)
    return resolve_device(args.device)


def chosen_dtype(args: argparse.Namespace, otherwise: str, device: torch.device) -> torch.dtype:
    """The precision; from here on torch computes with the threads asked for. Raises
    InvalidSettings.
    """
    named = args.dtype or otherwise
    dtype = resolve_dtype(named, device)
    if dtype not in BOUNDS:
        what = "--dtype" if args.dtype else "The precision"
        raise InvalidSettings(f"{what} is {named}.", field="dtype", limit="float32, float16, bfloat16")
    use_threads(args.threads)
    return dtype


def chosen_file(args: argparse.Namespace, folder: Path, shipped: str) -> Path:
    """The scenario's file."""
    return Path(args.scenario) if args.scenario else folder / shipped


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
