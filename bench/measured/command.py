"""`skipjoin bench fidelity`: measured runs of another server beside their replays.

Owns flags, table, JSON and exit code: 0 when every figure is within its bar, else 1. It measures nothing; `pairs` does.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence

from ...console.json_flag import add_json_flag
from ...console.output_file import write
from ..data_folder import data_folder
from .pairs import Figure, figures, runs_in

HEAD = ("run", "costs", "", "measured", "simulated", "ratio", "bar")


def configure(parser: argparse.ArgumentParser) -> None:
    """The flags of `bench fidelity`."""
    parser.add_argument(
        "--data", metavar="DIR", help="folder with measured runs (default: the environment's SKIPJOIN_BENCH_DATA)"
    )
    add_json_flag(parser, "the figures")


def run(args: argparse.Namespace) -> int:
    """Replay every run below the folder. Raises InvalidSettings, InvalidTrace, InvalidProfile."""
    folder = data_folder(args.data, "measured runs")
    found = [figure for requests in runs_in(folder) for figure in figures(requests)]
    print(rendered(found))
    if args.json is not None:
        write(args.json, json.dumps({"figures": [one.as_json() for one in found]}, indent=2) + "\n", "json")
    return 0 if all(figure.holds for figure in found) else 1


def rendered(found: Sequence[Figure]) -> str:
    """The table."""
    lines = [HEAD, *(_cells(figure) for figure in found)]
    widths = [max(len(line[at]) for line in lines) for at in range(len(HEAD))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if at < 3 else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def _cells(figure: Figure) -> tuple[str, ...]:
    verdict = "" if figure.holds else " missed"
    return (
        figure.run,
        figure.costs,
        figure.measure,
        f"{figure.measured_s:.2f} s",
        f"{figure.simulated_s:.2f} s",
        f"{figure.ratio:.3f}",
        f"{1 - figure.within:.2f}-{1 + figure.within:.2f}{verdict}",
    )
