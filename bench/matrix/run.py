"""`skipjoin bench matrix`, as its flags say: the summary on standard output, notes on standard
error.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from ...workload.source import DATA_VARIABLE
from ..flags import check_bounds
from ..progress import Bar
from ..table import grid
from .code import code_version
from .plan import make_plan
from .runner import run_matrix
from .scenario import FOLDER, load_matrix
from .store import Store
from .summary import FIGURES, LEGEND, collect, summary

INSTEAD = ("traces", "loads", "batches", "policies", "requests", "warmup", "seeds", "profile", "tails")
"""Flags that stand in place of the file's fields."""


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
        rows = summary(collect(store.lines()))
    named = [*plan.policies, *(row.policy for row in rows)]
    rows.sort(key=lambda row: (row.policy not in plan.policies, named.index(row.policy)))
    lines = [["", *(row.policy for row in rows)], ["cells", *(str(row.cells) for row in rows)]]
    lines += [[f"{one.group}: {one.title}", *map(one.text, rows)] for one in FIGURES]
    print(f"{grid(lines)}\n{LEGEND}\nskipjoin bench report {args.out or folder.name} --out FILE.html draws it")
    return 1 if failed else 0
