"""`skipjoin bench matrix`, as its flags say: the summary on standard output, notes on standard
error.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from ...workload.source import DATA_VARIABLE
from ..flags import Flags, check_bounds, words_of
from ..progress import Bar
from ..table import grid
from .code import code_version
from .runner import make_plan, run_matrix
from .scenario import FOLDER, load_matrix
from .store import Store
from .summary import FIGURES, LEGEND, collect, summary

INSTEAD = ("traces", "loads", "batches", "policies", "requests", "warmup", "seeds", "profile", "tails")
"""Flags that stand in place of the file's fields."""


def configure(parser: argparse.ArgumentParser) -> None:
    """The flags of `bench matrix`."""
    which = Flags(parser.add_mutually_exclusive_group())
    which.switch("quick", "four traces, loads 0.9 and 1.2, batch 64: minutes (default)")
    which.switch("full", "eight traces, five loads, three batches, all policies: hours")
    which.value("scenario", "FILE", "a matrix of your own, as those in bench/matrices")
    flags = Flags(parser)
    flags.value("data", "DIR", "folder of the traces (default: the environment's SKIPJOIN_BENCH_DATA)")
    flags.value("traces", "A,B", "traces, by name, file or shape:NAME", kind=words_of)
    flags.value("loads", "R,R", "arrival rates over drain rate", kind=words_of)
    flags.value("batches", "B,B", "jobs in a batch", kind=words_of)
    policies = "policies, or one with its dial set (adaptive:0.5); all: every one"
    flags.value("policies", "A,B", policies, kind=words_of)
    flags.value("tails", "T,T", "settings of the dial of a policy that has one", kind=words_of)
    flags.value("requests", "N", "counted requests of a run", kind=int)
    flags.value("warmup", "N", "requests before them, served and not counted", kind=int)
    flags.value("seeds", "S,S", "windows of a trace, or draws of a shape", kind=words_of)
    flags.value("profile", "NAME|FILE", "cost profile")
    flags.value("out", "DIR", "where results.jsonl lies or will lie (default: matrix-quick, matrix-full)")
    flags.value("jobs", "N", "processes (default: one a processor)", kind=int)


def run(args: argparse.Namespace) -> int:
    """Run what is not there yet, and print the summary; 1 when some failed. Raises SkipjoinError."""
    check_bounds(args, jobs=(1, 256))
    file = Path(args.scenario) if args.scenario else FOLDER / ("full.toml" if args.full else "quick.toml")
    instead = {name: value for name in INSTEAD if (value := getattr(args, name)) is not None}
    plan = make_plan(load_matrix(file, instead), args.data or os.environ.get(DATA_VARIABLE))
    folder = Path(args.out or f"matrix-{file.stem}")
    with Bar() as bar, Store(folder, code_version()) as store:
        for note in plan.notes:
            bar.note(note)
        if store.torn:
            bar.note("The last line of results.jsonl was torn and is cut off")
        failed = run_matrix(plan, store, bar, args.jobs or os.cpu_count() or 1)
        rows = summary(collect(store.results()))
    named = [*plan.policies, *(row.policy for row in rows)]
    rows.sort(key=lambda row: (row.policy not in plan.policies, named.index(row.policy)))
    lines = [["", *(row.policy for row in rows)], ["cells", *(str(row.cells) for row in rows)]]
    lines += [[f"{one.group}: {one.title}", *map(one.text, rows)] for one in FIGURES]
    print(f"{grid(lines)}\n{LEGEND}\nskipjoin bench report {args.out or folder.name} --out FILE.html draws it")
    return 1 if failed else 0
