"""`--json`: one flag of one meaning, for commands that measure.

Owns the flag, and that standard output carries the JSON alone when it is the JSON's: what a command
prints for a person meanwhile goes to standard error. It knows no command and no value. Commands
whose results are small (`admin`, `generate`, `profile show`) have the flag without a file.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from contextvars import ContextVar
from typing import TextIO

STANDARD = "-"
_kept: ContextVar[TextIO | None] = ContextVar("the JSON's standard output", default=None)


def add_json_flag(parser: argparse.ArgumentParser, what: str) -> None:
    """`--json`, `--json -` and `--json FILE`; `args.json` is None without it, `STANDARD` for
    standard output.
    """
    parser.add_argument(
        "--json",
        nargs="?",
        const=STANDARD,
        metavar="FILE",
        help=f"{what} as JSON on standard output, and nothing else there; or in FILE, beside what is printed",
    )


@contextmanager
def json_alone(name: str | None) -> Iterator[None]:
    """Within it, standard output is the JSON's alone if `name` is `STANDARD`."""
    if name != STANDARD:
        yield
        return
    token = _kept.set(sys.stdout)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        _kept.reset(token)


def json_stream() -> TextIO:
    """Where JSON for standard output goes, within `json_alone` and outside of it."""
    return _kept.get() or sys.stdout
