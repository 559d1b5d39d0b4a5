"""`skipjoin bench step`: decode steps, prefills, moves beside decodes and the device's idle time, against what the device can do.

Owns flags, files and the exit code: 0 measured, and every target that applies held; 1 one was missed, or a case did not run. It measures nothing;
`study` does.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from ...console.json_flag import add_json_flag
from ...console.output_file import write
from ...core.errors import InvalidSettings
from ..json_file import json_lines

MOST_ROUNDS = 1000


def configure(parser: argparse.ArgumentParser) -> None:
    """The flags of `bench step`."""
    parser.add_argument("--device", default="auto", metavar="DEVICE", help="auto, cpu, cuda, cuda:N (default: auto)")
    parser.add_argument(
        "--dtype", metavar="DTYPE", help="float32, float16, bfloat16, auto (default: as the scenario says)"
    )
    parser.add_argument("--threads", type=int, metavar="N", help="CPU threads (default: as serve)")
    parser.add_argument("--scenario", metavar="FILE", help="iterations of your own, as those in bench/step/scenarios")
    parser.add_argument("--only", metavar="NAME", help="decode, prefill, moves or idle, or part of a case's name")
    parser.add_argument("--repeats", type=int, default=5, metavar="N", help="rounds, at least 3 (default %(default)s)")
    add_json_flag(parser, "the figures, a line each,")
    parser.add_argument("--plot", metavar="FILE", help="write a picture there (SVG)")


def run(args: argparse.Namespace) -> int:
    """Measure. Raises InvalidSettings, InvalidInput, InvalidModel."""
    from ...core.clock import MonotonicClock
    from ...executor.capacity import resolve_device, resolve_dtype, use_threads
    from ...executor.current_device import computing_on
    from ..kernels.contest import BOUNDS
    from ..kernels.study import SpeedRow
    from ..machine import device_facts
    from ..progress import Bar
    from .figures import Row
    from .plot import picture_of
    from .render import head, machine_line, row_as_json, row_line, tail
    from .scenario import FOLDER, SHIPPED, load_steps
    from .stage import staged
    from .study import FEWEST_ROUNDS, samples, study

    if not FEWEST_ROUNDS <= args.repeats <= MOST_ROUNDS:
        raise InvalidSettings(f"--repeats is {args.repeats}.", field="repeats", limit=f"{FEWEST_ROUNDS}..{MOST_ROUNDS}")
    if args.threads is not None and not 1 <= args.threads <= 1024:
        raise InvalidSettings(f"--threads is {args.threads}.", field="threads", limit="1..1024")
    device = resolve_device(args.device)
    file = Path(args.scenario) if args.scenario else FOLDER / SHIPPED[device.type]
    scenario = load_steps(file).only(args.only)
    named = args.dtype or scenario.dtype
    dtype = resolve_dtype(named, device)
    if dtype not in BOUNDS:
        raise InvalidSettings(f"The precision is {named}.", field="dtype", limit="float32, float16, bfloat16")
    use_threads(args.threads)
    here = device_facts(device, dtype)
    lines_of, speeds, last = [], [], ""
    with Bar() as bar, computing_on(device), json_lines(args.json) as lines:
        bar.note(f"Drawing {scenario.model} on {device} and starting its executor ...")
        with staged(scenario, device, dtype, MonotonicClock()) as stage:
            print(head(scenario, here, args.repeats), flush=True)
            bar.begin("rounds of all cases", samples(scenario, args.repeats, ahead=stage.ahead))
            lines(machine_line(scenario, here, args.repeats))
            for row in study(scenario, stage, args.repeats, lambda: bar.ended(1)):
                lines(row_as_json(row))
                if isinstance(row, SpeedRow):
                    speeds.append(row)
                    continue
                lines_of.append(row)
                print(row_line(row, first=row.case != last), flush=True)
                last = row.case
    print(tail(speeds, lines_of))
    rows = [row for row in lines_of if isinstance(row, Row)]
    if args.plot is not None:
        write(args.plot, picture_of(rows, here, scenario.title) + "\n", "plot")
    return 1 if len(rows) < len(lines_of) or any(row.holds is False for row in rows) else 0
