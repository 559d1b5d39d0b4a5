"""`skipjoin bench published`: FastServe's published points on OPT-13B beside the same runs in the simulator.

Owns flags, files and the exit code: 0 drawn, 1 a target missed; one of which nobody can tell is no miss. It simulates nothing; `redraw` does.
"""

from __future__ import annotations

import argparse
import json

from ...console.json_flag import add_json_flag
from ...console.output_file import write
from ..data_folder import data_folder
from .curves import find_file, read_curves
from .panels import BATCH, KV_TOKENS, LEVEL_S, PANELS, named


def configure(parser: argparse.ArgumentParser) -> None:
    """The flags of `bench published`."""
    names = ",".join(panel.name for panel in PANELS)
    parser.add_argument(
        "--data", metavar="DIR", help="folder with published curves and traces (default: SKIPJOIN_BENCH_DATA)"
    )
    parser.add_argument("--panel", default=names, metavar="A,B", help="(default %(default)s)")
    parser.add_argument(
        "--lengths", metavar="CSV|shape:NAME", help="other lengths, as in simulate --trace (default: the panel's)"
    )
    parser.add_argument(
        "--jobs", type=int, metavar="N", help="jobs a point (default: as many as the artifact, by the rate)"
    )
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="runs a point (default %(default)s)")
    parser.add_argument("--batch", type=int, default=BATCH, metavar="B", help="(default %(default)s)")
    parser.add_argument(
        "--kv-tokens", type=int, default=KV_TOKENS, metavar="K", help="device room for KV (default %(default)s)"
    )
    parser.add_argument(
        "--starvation", default="granted", metavar="off|granted|paper", help="of skipjoin (default %(default)s)"
    )
    parser.add_argument(
        "--level", type=float, default=LEVEL_S, metavar="S", help="limit in s per token (default %(default)s)"
    )
    add_json_flag(parser, "the figures")
    parser.add_argument("--plot", metavar="FILE", help="write a picture there (SVG)")


def run(args: argparse.Namespace) -> int:
    """Draw the panels again. Raises InvalidSettings, InvalidTrace."""
    folder = data_folder(args.data, "published curves and traces")
    from ..progress import Bar
    from .plot import picture_of
    from .redraw import Redrawn, Setting, redraw
    from .render import as_json, rendered

    setting = Setting(
        str(folder), args.lengths, args.jobs, args.seeds, args.batch, args.kv_tokens, args.starvation, args.level
    )
    setting.check()
    panels = named(args.panel)
    curves = read_curves(find_file(folder))
    drawn: list[Redrawn] = []
    with Bar() as bar:
        for panel in panels:
            drawn.append(redraw(panel, curves, setting, bar))
            print(rendered(drawn[-1]), flush=True)
    if args.json is not None:
        write(args.json, json.dumps({"panels": [as_json(one) for one in drawn]}, indent=2) + "\n", "json")
    if args.plot is not None:
        write(args.plot, picture_of(drawn) + "\n", "plot")
    return 1 if any(one.holds is False for one in drawn) else 0
