"""`skipjoin bench kernels` and its `--tune`, as their flags say.

Owns what is printed: labels, units, rounding.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from itertools import groupby
from pathlib import Path

from ....console.output_file import write
from ....core.clock import MonotonicClock
from ....core.errors import InvalidSettings
from ....executor.current_device import computing_on
from ....executor.kernel_sizes import sizes_folder
from ....kernels.compiled.size_file import SizeKey
from ...charts.bars import Bar as Drawn
from ...charts.bars import BarChart, bar_sheet
from ...flags import words_of
from ...json_file import json_lines
from ...machine import DeviceFacts, device_facts
from ...progress import Bar
from ...table import DASH, Columns, known, number
from ..command import CACHED, SHIPPED, chosen_device, chosen_dtype, chosen_file, device_flags, print_rows, print_tail
from .contest import OURS, REFERENCE, product_on
from .scenario import FOLDER, TUNED, load_shapes
from .study import KernelRow, Setting, study
from .tune import Found, Place, Space, file_name, read_older, size_file, tune, write_sizes

COLUMNS = Columns(
    (
        ("kernel", -26),
        ("", -12),
        ("us", 10),
        ("spread", 7),
        ("GB/s", 8),
        ("GFLOP/s", 9),
        ("roofline", 9),
        ("skipjoin/it", 12),
        ("error", 9),
    )
)
SIZES = Columns(
    (("attention", -24), ("us", 9), ("by rule", 9), ("gain", 6), ("tried", 6), ("refused", 8), (" sizes", 0))
)
COLOURS = {OURS: "blue", REFERENCE: "other", "sdpa": "orange", "flex": "aqua"}
LONGEST = 1.5
"""Times the roofline: what a cache makes faster still ends at the edge of the picture."""


def configure(parser: argparse.ArgumentParser) -> None:
    """The flags of `bench kernels`."""
    flags = device_flags(parser, "auto", "shapes of your own, as those in bench/device/kernels/shapes")
    flags.value("only", "NAME", "a kernel (attention, norm, ...), or part of a case's name")
    flags.switch("no-flex", "leave FlexAttention out, which takes long to compile")
    flags.switch("tune", "instead: find the quickest kernel sizes of this GPU and write them down")
    flags.value("head-dims", "D,D", "for --tune: head sizes", "64,128")
    flags.value("out", "FILE", "for --tune: where to write them (default: where every start looks)")


def run(args: argparse.Namespace) -> int:
    """As the flags say. Raises InvalidSettings, InvalidInput."""
    return run_tune(args) if args.tune else run_contests(args)


def run_contests(args: argparse.Namespace) -> int:
    """Measure; 1 when a kernel of ours is wrong or does not run. Raises InvalidSettings,
    InvalidInput.
    """
    device = chosen_device(args)
    dtype = chosen_dtype(args, "auto", device)
    scenario = load_shapes(chosen_file(args, FOLDER, SHIPPED[device.type])).only(args.only)
    facts = device_facts(device, dtype)
    setting = Setting(device, dtype, args.repeats, flex=not args.no_flex)
    print(_head(scenario.title, facts, args.repeats), flush=True)
    with Bar() as bar, computing_on(device), json_lines(args.json) as add:
        bar.begin("kernels", sum(2 if case.kernel == "move" else 1 for case in scenario.cases))
        add({"kind": "machine", "title": scenario.title, "rounds": args.repeats, **asdict(facts)})
        rows = study(scenario, product_on(device, dtype, scenario.model), setting, MonotonicClock())
        kernels, speeds = print_rows(rows, row_line, add, bar.ended)
    print_tail("Rooflines, measured between the kernels", speeds, [CACHED])
    if args.plot is not None:
        write(args.plot, picture_of(kernels, facts, scenario.title) + "\n", "plot")
    return 1 if any(row.fails for row in kernels) else 0


def _head(title: str, facts: DeviceFacts, rounds: int) -> str:
    lines = [
        f"Kernels for {title}, {facts.dtype}",
        facts.sentence(),
        f"Medians of {rounds} rounds in which all take turns; spread: largest less smallest, over the median",
    ]
    if facts.on_cpu:
        lines.append(
            "No CUDA device: these are the CPU's kernels. Triton's interpreter is a check, not a speed,"
            " and is not timed"
        )
    return "\n".join([*lines, "", COLUMNS.head])


def row_line(row: KernelRow, case: str) -> str:
    """A line of the table; `case` stands at its head."""
    error = known(row.error, lambda value: "0" if value == 0 else f"{value:.1e}")
    if not row.right:
        return COLUMNS.line(
            case,
            row.contestant,
            f"did not run: {row.absent}" if row.absent else f"WRONG, {error} of {row.bound:g} allowed",
        )
    spread = DASH
    if row.us and row.us_min is not None and row.us_max is not None:
        spread = f"{(row.us_max - row.us_min) / row.us:.0%}"
    rates = (number(row.gb_s), number(row.gflop_s), known(row.roofline, ".0%"), known(row.ours_over_it, ".2f"))
    line = COLUMNS.line(case, row.contestant, number(row.us), spread, *rates, error)
    return f"{line}\n{'':<39} launched kernel by kernel: {row.unrecorded}" if row.unrecorded else line


def picture_of(rows: Sequence[KernelRow], facts: DeviceFacts, name: str) -> str:
    """A bar a contestant, as long as its share of the roofline; an SVG file."""
    measured = [row for row in rows if row.roofline is not None]
    colours = {name: COLOURS.get(name, "violet") for name in dict.fromkeys(row.contestant for row in measured)}
    groups = []
    for case, mine in groupby(measured, key=lambda row: row.case):
        bars: list[Drawn] = []
        for row in mine:
            said = f"{case}, {row.contestant}: {row.us:.1f} us, {row.roofline:.0%} of the roofline"
            bars.append(Drawn("" if bars else case, row.roofline or 0.0, colours[row.contestant], said))
        groups.append(bars)
    chart = BarChart(groups, f"Kernels for {name}, {facts.dtype}", "share of the roofline", LONGEST, colours)
    return bar_sheet("Share of the roofline by kernel and contestant", [chart], 760.0, facts.sentence())


def run_tune(args: argparse.Namespace) -> int:
    """Search, show and write; 1 when for some kind of batch no size runs. Raises InvalidSettings."""
    device = chosen_device(args)
    dtype = chosen_dtype(args, "auto", device)
    for flag in ("json", "plot"):
        if getattr(args, flag) is not None:
            raise InvalidSettings(f"--tune writes sizes to --out and no figures; leave --{flag} out.", field=flag)
    if device.type != "cuda":
        raise InvalidSettings(
            f"--tune finds the kernel sizes of a GPU, and this run would be on {device}: a CPU has none. "
            "Run it where CUDA is.",
            field="tune",
        )
    dims = head_dims(args.head_dims)
    path = Path(args.out) if args.out else sizes_folder() / file_name(device)
    older = read_older(path, device)
    scenario = load_shapes(chosen_file(args, FOLDER, TUNED)).only(args.only)
    space, facts, place = Space(), device_facts(device, dtype), Place(device, dtype, MonotonicClock())
    print(
        f"Kernel sizes for {facts.device}, {dtype}, torch {facts.torch}, triton {facts.triton}\n\n{SIZES.head}",
        flush=True,
    )
    with Bar() as bar, computing_on(device):
        bar.begin("candidates at most", space.most() * len(dims) * len(scenario.cases))

        def told(key: SizeKey, best: Found | None) -> None:
            print(found_line(key, best), flush=True)

        found = tune(scenario, dims, place, space, told, lambda: bar.ended(1))
    if found:
        write_sizes(size_file(found, place, facts, older), path)
        use = (
            "They are used when the file lies in skipjoin/kernel-sizes of the user's configuration folder (~/.config)."
        )
        if args.out is None:
            use = "Every start on this device uses them from now on."
        print(f"\nwritten to {path}\n{use} To ship them, put the file into kernels/compiled/sizes.")
    return 0 if len(found) == len(dims) * len(scenario.cases) else 1


def found_line(key: SizeKey, best: Found | None) -> str:
    """The choice for one kind of batch."""
    name = f"{'chunks' if key.chunks else 'decode'}, head size {key.head_dim}"
    if best is None:
        return f"{name:<24} no candidate runs here and computes what it should; the rule stays"
    sizes = ", ".join(f"{field} {value}" for field, value in asdict(best.sizes).items())
    times = (number(best.us), number(best.rule_us), known(best.gain, ".0%"))
    return SIZES.line(name, *times, str(best.tried), str(best.refused), f" {sizes}")


def head_dims(text: str) -> list[int]:
    """Head sizes as the flag lists them. Raises InvalidSettings."""
    words = words_of(text)
    if not words or not all(word.isdecimal() and 16 <= int(word) <= 512 and int(word) % 2 == 0 for word in words):
        raise InvalidSettings(f"--head-dims is {text}.", field="head-dims", limit="even numbers in 16..512")
    return [int(word) for word in dict.fromkeys(words)]
