"""`skipjoin bench matrix`: its flags, the folder it writes and its exit code: 0 all runs are there, 1 some failed.

Owns how flags change what a matrix file says. It measures nothing; bench/command calls it. The summary goes to standard output, notes and progress to
standard error.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from ...core.errors import InvalidSettings

MAX_PROCESSES = 256


def configure(parser: argparse.ArgumentParser) -> None:
    """The flags of `bench matrix`."""
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--quick", action="store_true", help="four traces, loads 0.9 and 1.2, batch 64: minutes (default)"
    )
    which.add_argument(
        "--full", action="store_true", help="eight traces, five loads, three batches, all policies: hours"
    )
    which.add_argument("--scenario", metavar="FILE", help="a matrix of your own, as those in bench/matrices")
    parser.add_argument(
        "--data", metavar="DIR", help="folder of the traces (default: the environment's SKIPJOIN_BENCH_DATA)"
    )
    parser.add_argument("--traces", type=_words, metavar="A,B", help="traces, by name, file or shape:NAME")
    parser.add_argument("--loads", type=_words, metavar="R,R", help="arrival rates over drain rate")
    parser.add_argument("--batches", type=_words, metavar="B,B", help="jobs in a batch")
    parser.add_argument(
        "--policies",
        type=_words,
        metavar="A,B",
        help="policies, or one with its dial set (adaptive:0.5); all: every one",
    )
    parser.add_argument("--tails", type=_words, metavar="T,T", help="settings of the dial of a policy that has one")
    parser.add_argument("--requests", type=int, metavar="N", help="counted requests of a run")
    parser.add_argument("--warmup", type=int, metavar="N", help="requests before them, served and not counted")
    parser.add_argument("--seeds", type=_words, metavar="S,S", help="windows of a trace, or draws of a shape")
    parser.add_argument("--profile", metavar="NAME|FILE", help="cost profile")
    parser.add_argument(
        "--out", metavar="DIR", help="where results.jsonl lies or will lie (default: matrix-quick, matrix-full)"
    )
    parser.add_argument("--jobs", type=int, metavar="N", help="processes (default: one a processor)")


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


def run(args: argparse.Namespace) -> int:
    """Run what is not there yet, and print the summary. Raises SkipjoinError."""
    from ...workload.source import DATA_VARIABLE
    from ..progress import Bar
    from .code import code_version
    from .plan import make_plan
    from .render import print_summary
    from .runner import run_matrix
    from .scenario import FOLDER, load_matrix
    from .store import Store
    from .summary import collect, summary

    processes = (os.cpu_count() or 1) if args.jobs is None else args.jobs
    if not 1 <= processes <= MAX_PROCESSES:
        raise InvalidSettings(f"--jobs is {processes}.", field="jobs", limit=f"1..{MAX_PROCESSES}")
    file = Path(args.scenario) if args.scenario else FOLDER / ("full.toml" if args.full else "quick.toml")
    names = ("traces", "loads", "batches", "policies", "requests", "warmup", "seeds", "profile", "tails")
    instead = {name: value for name in names if (value := getattr(args, name)) is not None}
    matrix = load_matrix(file, instead)
    plan = make_plan(matrix, args.data or os.environ.get(DATA_VARIABLE))
    folder = Path(args.out or f"matrix-{file.stem}")
    with Bar() as bar, Store(folder, code_version()) as store:
        for note in plan.notes:
            bar.note(note)
        if store.torn:
            bar.note("The last line of results.jsonl was torn and is cut off")
        failed = run_matrix(plan, store, bar, processes)
        rows = summary(collect(store.lines()))
    named = [row.policy for row in rows]
    rows.sort(key=lambda row: (row.policy not in plan.policies, [*plan.policies, *named].index(row.policy)))
    print_summary(rows, args.out or folder.name)
    return 1 if failed else 0
