"""`skipjoin pool`: look into a job pool's file, beside a running server or without one.

Owns the flags and where lines go. It changes no pool: `inspection.py` opens the file read-only.
`cli.py` calls it; exit codes: 0 sound or written, 1 faults were found, 2 no job pool there, 5 it
cannot be read now.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from ..console.output_file import place
from ..core.errors import InvalidInput


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the words of `skipjoin pool`."""
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument(
        "path",
        nargs="?",
        metavar="PATH",
        help="the pool's file (default: SKIPJOIN_JOB_POOL, else jobs.sqlite in the user's state folder)",
    )
    words = parser.add_subparsers(title="words", dest="word", metavar="WORD", required=True)
    text = "is the file sound: pages, indices, checksums, what belongs together; exit code 1 for faults"
    check = words.add_parser("check", parents=[shared], help=text, description=text, allow_abbrev=False)
    check.add_argument("--json", action="store_true", help="print JSON for a program")
    text = "every job with prompt and tokens, a line of JSON each; of a damaged file what can be read"
    export = words.add_parser("export", parents=[shared], help=text, description=text, allow_abbrev=False)
    export.add_argument("--out", metavar="FILE", help="write there, for its owner alone (default: standard output)")


def run(args: argparse.Namespace) -> int:
    """Look, and show. Raises InvalidInput, StoreUnavailable."""
    path = _path(args.path)
    return _check(path, as_json=args.json) if args.word == "check" else _export(path, args.out)


def _path(given: str | None) -> Path:
    named = given or os.environ.get("SKIPJOIN_JOB_POOL") or ""
    if named == "memory":
        raise InvalidInput("A pool in memory has no file.", field="PATH")
    if named:
        return Path(named.removeprefix("sqlite:"))
    base = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(base) / "skipjoin" / "jobs.sqlite"


def _check(path: Path, *, as_json: bool) -> int:
    from .inspection import inspected
    from .pool_check import check
    from .render import show, show_json

    with inspected(path) as pool, _working() as begin:
        report = check(pool, begin)
    show_json(report) if as_json else show(report)
    return 0 if report.sound else 1


def _export(path: Path, out: str | None) -> int:
    from .inspection import inspected
    from .pool_export import exported

    if out is not None:
        place(out, "out")
    jobs = damaged = 0
    with inspected(path) as pool, _lines(out) as stream, _working(pool.count("job")) as advance:
        for job in exported(pool):
            stream.write(json.dumps(job, ensure_ascii=False) + "\n")
            jobs, damaged = jobs + 1, damaged + bool(job["damaged"])
            advance("jobs")
        unreadable = sum(pool.unreadable.values())
    print(f"{jobs} jobs, {damaged} of them damaged; {unreadable} places could not be read.", file=sys.stderr)
    return 1 if damaged or unreadable else 0


@contextmanager
def _lines(out: str | None) -> Iterator[TextIO]:
    """Standard output, or a file that takes its name when all lines are in it."""
    if out is None:
        yield sys.stdout
        return
    path = Path(out)
    part = path.with_name(f"{path.name}.part")
    try:
        with open(part, "w", encoding="utf-8", opener=lambda name, flags: os.open(name, flags, 0o600)) as stream:
            yield stream
        part.replace(path)
    except OSError as bad:
        raise InvalidInput(f"{path.name} cannot be written: {bad.strerror or 'output error'}.", field="out") from None


class _Working:
    """Called with what is done next, or with one more of many."""

    def __init__(self, total: int | None) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        columns = (TextColumn("{task.description}"), BarColumn(), *(() if total is None else (MofNCompleteColumn(),)))
        self.progress = Progress(
            *columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()
        )
        self._task = self.progress.add_task("", total=total)
        self._total = total

    def __call__(self, what: str) -> None:
        self.progress.update(self._task, description=what, advance=0 if self._total is None else 1)


@contextmanager
def _working(total: int | None = None) -> Iterator[_Working]:
    """A bar on standard error where a person watches."""
    working = _Working(total)
    with working.progress:
        yield working
