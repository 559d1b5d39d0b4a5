"""`skipjoin bench kernels`: each kernel against its reference, torch's attention and the rooflines; and the search for kernel sizes.

Owns flags, files and the exit code: 0 measured, 1 a kernel of ours is wrong or does not run. It measures nothing; `study` and `search` do.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from ...core.errors import InvalidSettings
from ...core.places import write

MOST_ROUNDS = 1000


def configure(parser: argparse.ArgumentParser) -> None:
    """The flags of `bench kernels`."""
    parser.add_argument("--device", default="auto", metavar="DEVICE", help="auto, cpu, cuda, cuda:N (default: auto)")
    parser.add_argument("--dtype", default="auto", metavar="DTYPE", help="float32, float16, bfloat16 (default: auto)")
    parser.add_argument("--threads", type=int, metavar="N", help="CPU threads (default: all cores)")
    parser.add_argument("--scenario", metavar="FILE", help="shapes of your own, as those in bench/kernels/shapes")
    parser.add_argument("--only", metavar="NAME", help="a kernel (attention, norm, ...), or part of a case's name")
    parser.add_argument("--repeats", type=int, default=5, metavar="N", help="rounds, at least 3 (default %(default)s)")
    parser.add_argument("--no-flex", action="store_true", help="leave FlexAttention out, which takes long to compile")
    parser.add_argument("--json", metavar="FILE", help="write the figures there, a line each (- is standard output)")
    parser.add_argument("--plot", metavar="FILE", help="write a picture there (SVG)")


def run(args: argparse.Namespace) -> int:
    """Measure. Raises InvalidSettings, InvalidInput."""
    from ...core.clock import MonotonicClock
    from ...executor.capacity import resolve_device, resolve_dtype
    from ..progress import Bar
    from .contest import BOUNDS
    from .machine import facts
    from .plot import picture_of
    from .render import head, json_lines, row_line, tail
    from .scenario import FOLDER, SHIPPED, load_shapes
    from .study import FEWEST_ROUNDS, KernelRow, Setting, SpeedRow, study
    from .subject import product_on

    if not FEWEST_ROUNDS <= args.repeats <= MOST_ROUNDS:
        raise InvalidSettings(f"--repeats is {args.repeats}.", field="repeats", limit=f"{FEWEST_ROUNDS}..{MOST_ROUNDS}")
    device = resolve_device(args.device)
    dtype = resolve_dtype(args.dtype, device)
    if dtype not in BOUNDS:
        raise InvalidSettings(f"--dtype is {args.dtype}.", field="dtype", limit="float32, float16, bfloat16")
    use_cores(args.threads)
    file = Path(args.scenario) if args.scenario else FOLDER / SHIPPED[device.type]
    scenario = load_shapes(file).only(args.only)
    here = facts(device, dtype)
    setting = Setting(device, dtype, args.repeats, flex=not args.no_flex)
    shown = args.json != "-"
    if shown:
        print(head(scenario.title, here, args.repeats), flush=True)
    rows: list[KernelRow | SpeedRow] = []
    last = ""
    with Bar() as bar:
        bar.begin("kernels", len(scenario.cases))
        for row in study(scenario, product_on(device, dtype), setting, MonotonicClock()):
            rows.append(row)
            if isinstance(row, SpeedRow):
                continue
            if shown:
                print(row_line(row, first=row.case != last), flush=True)
            bar.ended(row.case != last)
            last = row.case
    kernels = [row for row in rows if isinstance(row, KernelRow)]
    if shown:
        print(tail([row for row in rows if isinstance(row, SpeedRow)]))
    lines = json_lines(scenario.title, here, args.repeats, rows)
    if not shown:
        print(lines, end="")
    elif args.json is not None:
        write(args.json, lines, "json")
    if args.plot is not None:
        write(args.plot, picture_of(kernels, here, scenario.title) + "\n", "plot")
    return 1 if any(row.fails for row in kernels) else 0


def use_cores(count: int | None) -> None:
    """Let torch compute on so many threads; None: as many as there are processors for this process. Raises InvalidSettings."""
    import torch

    there = len(os.sched_getaffinity(0))
    if count is not None and not 1 <= count <= 1024:
        raise InvalidSettings(f"--threads is {count}.", field="threads", limit="1..1024")
    torch.set_num_threads(there if count is None else count)
