"""`skipjoin bench kernels`: each kernel against its reference, torch's attention and the rooflines; and the search for kernel sizes.

Owns flags, files and the exit code: 0 measured, 1 a kernel of ours is wrong or does not run. It measures nothing; `study` and `search` do.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ...console.json_flag import add_json_flag
from ...console.output_file import write
from ...core.errors import InvalidSettings
from ..json_file import json_lines

if TYPE_CHECKING:
    import torch

MOST_ROUNDS = 1000


def configure(parser: argparse.ArgumentParser) -> None:
    """The flags of `bench kernels`."""
    parser.add_argument("--device", default="auto", metavar="DEVICE", help="auto, cpu, cuda, cuda:N (default: auto)")
    parser.add_argument("--dtype", default="auto", metavar="DTYPE", help="float32, float16, bfloat16 (default: auto)")
    parser.add_argument("--threads", type=int, metavar="N", help="CPU threads (default: as serve)")
    parser.add_argument("--scenario", metavar="FILE", help="shapes of your own, as those in bench/kernels/shapes")
    parser.add_argument("--only", metavar="NAME", help="a kernel (attention, norm, ...), or part of a case's name")
    parser.add_argument("--repeats", type=int, default=5, metavar="N", help="rounds, at least 3 (default %(default)s)")
    parser.add_argument("--no-flex", action="store_true", help="leave FlexAttention out, which takes long to compile")
    add_json_flag(parser, "the figures, a line each,")
    parser.add_argument("--plot", metavar="FILE", help="write a picture there (SVG)")
    parser.add_argument(
        "--tune", action="store_true", help="instead: find the quickest kernel sizes of this GPU and write them down"
    )
    parser.add_argument(
        "--head-dims", default="64,128", metavar="D,D", help="for --tune: head sizes (default %(default)s)"
    )
    parser.add_argument(
        "--out", metavar="FILE", help="for --tune: where to write them (default: where every start looks)"
    )


def run(args: argparse.Namespace) -> int:
    """Measure. Raises InvalidSettings, InvalidInput."""
    from ...core.clock import MonotonicClock
    from ...executor.capacity import resolve_device, resolve_dtype, use_threads
    from ...executor.current_device import computing_on
    from ..machine import device_facts
    from ..progress import Bar
    from .contest import BOUNDS
    from .plot import picture_of
    from .render import head, machine_line, row_as_json, row_line, tail
    from .scenario import FOLDER, SHIPPED, load_shapes
    from .study import FEWEST_ROUNDS, KernelRow, Setting, SpeedRow, study
    from .subject import product_on

    if not FEWEST_ROUNDS <= args.repeats <= MOST_ROUNDS:
        raise InvalidSettings(f"--repeats is {args.repeats}.", field="repeats", limit=f"{FEWEST_ROUNDS}..{MOST_ROUNDS}")
    device = resolve_device(args.device)
    dtype = resolve_dtype(args.dtype, device)
    if dtype not in BOUNDS:
        raise InvalidSettings(f"--dtype is {args.dtype}.", field="dtype", limit="float32, float16, bfloat16")
    if args.threads is not None and not 1 <= args.threads <= 1024:
        raise InvalidSettings(f"--threads is {args.threads}.", field="threads", limit="1..1024")
    use_threads(args.threads)
    if args.tune:
        return _tune(args, device, dtype)
    file = Path(args.scenario) if args.scenario else FOLDER / SHIPPED[device.type]
    scenario = load_shapes(file).only(args.only)
    here = device_facts(device, dtype)
    setting = Setting(device, dtype, args.repeats, flex=not args.no_flex)
    print(head(scenario.title, here, args.repeats), flush=True)
    rows: list[KernelRow | SpeedRow] = []
    last = ""
    with Bar() as bar, computing_on(device), json_lines(args.json) as lines:
        bar.begin("kernels", sum(2 if case.kernel == "move" else 1 for case in scenario.cases))
        lines(machine_line(scenario.title, here, args.repeats))
        for row in study(scenario, product_on(device, dtype, scenario.model), setting, MonotonicClock()):
            rows.append(row)
            lines(row_as_json(row))
            if isinstance(row, SpeedRow):
                continue
            print(row_line(row, first=row.case != last), flush=True)
            bar.ended(row.case != last)
            last = row.case
    kernels = [row for row in rows if isinstance(row, KernelRow)]
    print(tail([row for row in rows if isinstance(row, SpeedRow)]))
    if args.plot is not None:
        write(args.plot, picture_of(kernels, here, scenario.title) + "\n", "plot")
    return 1 if any(row.fails for row in kernels) else 0


def _tune(args: argparse.Namespace, device: torch.device, dtype: torch.dtype) -> int:
    """Search, show and write. 1 when for some kind of batch no size runs."""
    for flag in ("json", "plot"):
        if getattr(args, flag) is not None:
            raise InvalidSettings(f"--tune writes sizes to --out and no figures; leave --{flag} out.", field=flag)
    if device.type != "cuda":
        raise InvalidSettings(
            f"--tune finds the kernel sizes of a GPU, and this run would be on {device}: a CPU has none. Run it where CUDA is.",
            field="tune",
        )
    from ...core.clock import MonotonicClock
    from ...executor.current_device import computing_on
    from ...executor.kernel_sizes import sizes_folder
    from ...kernels.compiled.size_file import SizeKey
    from ..machine import device_facts
    from ..progress import Bar
    from .render import found_line, tune_head, tune_tail
    from .scenario import FOLDER, TUNED, load_shapes
    from .search import Found, Space
    from .tune import Place, file_name, read_older, size_file, tune, write_sizes

    dims = head_dims(args.head_dims)
    path = Path(args.out) if args.out else sizes_folder() / file_name(device)
    older = read_older(path, device)
    scenario = load_shapes(Path(args.scenario) if args.scenario else FOLDER / TUNED).only(args.only)
    space, here, place = Space(), device_facts(device, dtype), Place(device, dtype, MonotonicClock())
    print(tune_head(here), flush=True)
    with Bar() as bar, computing_on(device):
        bar.begin("candidates at most", space.most() * len(dims) * len(scenario.cases))

        def told(key: SizeKey, best: Found | None) -> None:
            print(found_line(key, best), flush=True)

        found = tune(scenario, dims, place, space, told, lambda: bar.ended(1))
    if found:
        write_sizes(size_file(found, place, here, older), path)
        print(tune_tail(str(path), own=args.out is None))
    return 0 if len(found) == len(dims) * len(scenario.cases) else 1


def head_dims(text: str) -> list[int]:
    """Head sizes as the flag lists them. Raises InvalidSettings."""
    words = [word.strip() for word in text.split(",") if word.strip()]
    if not words or not all(word.isdecimal() and 16 <= int(word) <= 512 and int(word) % 2 == 0 for word in words):
        raise InvalidSettings(f"--head-dims is {text}.", field="head-dims", limit="even numbers in 16..512")
    return [int(word) for word in dict.fromkeys(words)]
