"""`skipjoin bench fidelity` and `skipjoin bench published`.

Owns flags, files and exit codes. It simulates nothing; `fidelity` and `redraw` do.
"""

from __future__ import annotations

import argparse

from ...console.json_flag import add_json_flag
from ...console.output_file import write
from ...core.errors import InvalidSettings
from ..flags import Flags, check_bounds


def configure_fidelity(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `bench fidelity`."""
    where = "folder with measured runs (default: the environment's SKIPJOIN_BENCH_DATA)"
    Flags(parser).value("data", "DIR", where)
    add_json_flag(parser, "the figures")


def run_fidelity(args: argparse.Namespace) -> int:
    """Replay every run below the folder: 0 when every figure is within its bar, else 1.

    Raises InvalidSettings, InvalidTrace, InvalidProfile.
    """
    from ..json_file import write_json
    from .fidelity import figures, runs_in
    from .reading import data_folder
    from .render import figures_table

    folder = data_folder(args.data, "measured runs")
    found = [figure for requests in runs_in(folder) for figure in figures(requests)]
    print(figures_table(found), end="")
    write_json(args.json, {"figures": [one.as_json() for one in found]})
    return 0 if all(figure.holds for figure in found) else 1


def configure_published(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `bench published`."""
    from .panels import BATCH, KV_TOKENS, LIMIT_S, PANELS

    flags = Flags(parser)
    flags.value("data", "DIR", "folder with published curves and traces (default: SKIPJOIN_BENCH_DATA)")
    flags.value("panel", "A,B", "", ",".join(panel.name for panel in PANELS))
    flags.value("lengths", "CSV|shape:NAME", "other lengths, as in simulate --trace (default: the panel's)")
    flags.value("jobs", "N", "jobs a point (default: as many as the artifact, by the rate)", kind=int)
    flags.value("seeds", "N", "runs a point", 3)
    flags.value("batch", "B", "", BATCH)
    flags.value("kv-tokens", "K", "device room for KV", KV_TOKENS)
    flags.value("starvation", "off|granted|paper", "of skipjoin", "granted")
    flags.value("level", "S", "limit in s per token", LIMIT_S)
    add_json_flag(parser, "the figures")
    flags.value("plot", "FILE", "write a picture there (SVG)")


def run_published(args: argparse.Namespace) -> int:
    """0 drawn, 1 a target missed. One that the curves do not decide is no miss.

    Raises InvalidSettings, InvalidTrace.
    """
    from ...scheduler.params import check_starvation
    from ..json_file import write_json
    from ..progress import Bar
    from .curves import find_file, read_curves
    from .panels import named
    from .plot import picture_of
    from .reading import data_folder
    from .redraw import Redrawn, Setting, redraw
    from .render import as_json, panel_tables

    folder = data_folder(args.data, "published curves and traces")
    limits = (args.batch, args.kv_tokens, args.starvation, args.level)
    setting = Setting(str(folder), args.lengths, args.jobs, args.seeds, *limits)
    check_bounds(args, jobs=(2, 100_000), seeds=(1, 100), batch=(1, 4096), kv_tokens=(256, 1 << 24))
    if not 0 < args.level <= 1000:
        raise InvalidSettings(f"--level is {args.level:g}.", field="level", limit="above 0, at most 1000")
    check_starvation(args.starvation)
    panels = named(args.panel)
    curves = read_curves(find_file(folder))
    drawn: list[Redrawn] = []
    with Bar() as bar:
        for panel in panels:
            drawn.append(redraw(panel, curves, setting, bar))
            print(panel_tables(drawn[-1]), flush=True)
    write_json(args.json, {"panels": [as_json(one) for one in drawn]})
    if args.plot is not None:
        write(args.plot, picture_of(drawn) + "\n", "plot")
    return 1 if any(one.holds is False for one in drawn) else 0
