"""`skipjoin bench recovery`: starts, and kills of the engine under load.

Owns flags, the file and the exit code: 0 measured, and every target held where they apply; 1 one did not. It measures nothing; `kills` does.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import asdict
from pathlib import Path

from ...core.clock import MonotonicClock
from ...core.errors import InvalidSettings
from ...core.json_output import add_json_flag
from ...core.places import write
from ..progress import Bar

MOST_KILLS = 10_000
MOST_CLIENTS = 64


def configure(parser: argparse.ArgumentParser) -> None:
    """The flags of `bench recovery`."""
    parser.add_argument(
        "--model",
        metavar="MODEL",
        help="a folder or id of the hub (default: small, for which there are targets with a spare)",
    )
    parser.add_argument("--kills", type=int, default=20, metavar="N", help="(default %(default)s)")
    parser.add_argument(
        "--clients", type=int, default=4, metavar="N", help="that take tokens meanwhile (default %(default)s)"
    )
    parser.add_argument(
        "--pause-s", type=float, default=2.0, metavar="S", help="with tokens between two kills (default %(default)s)"
    )
    parser.add_argument(
        "--no-spare-engine",
        action="store_true",
        help="let the server start its engines from nothing, as its own flag does",
    )
    add_json_flag(parser, "the figures")


def run(args: argparse.Namespace) -> int:
    """Measure. Raises InvalidSettings, Unavailable."""
    from .kills import COLD_S, P50_S, P99_S, WARM_S, measure

    for name, value, least, most in (
        ("kills", args.kills, 1, MOST_KILLS),
        ("clients", args.clients, 1, MOST_CLIENTS),
        ("pause-s", args.pause_s, 0, 600),
    ):
        if not least <= value <= most:
            raise InvalidSettings(f"--{name} is {value:g}.", field=name, limit=f"{least}..{most}")
    with Bar() as bar, tempfile.TemporaryDirectory(prefix="skipjoin-bench-") as folder:
        name, flags = server_of(args, bar)
        report = measure(
            name, flags, Path(folder), MonotonicClock(),
            kills=args.kills, clients=args.clients, pause_s=args.pause_s, progress=bar.note,
        )  # fmt: skip
    judged = args.model is None and not args.no_spare_engine
    lines: tuple[tuple[str, float, float | None], ...] = (
        ("cold start", report.cold_s, COLD_S),
        ("warm start", report.warm_s, WARM_S),
        ("next token after a kill, p50", report.percentile_s(50), P50_S),
        ("next token after a kill, p99", report.percentile_s(99), P99_S),
        ("next token after a kill, longest", max(report.waits_s), None),
    )
    print(f"{report.model}, {report.kills} kills, {report.clients} clients")
    for name, found, target in lines:
        told = "" if not judged or target is None else f"   target {target:g} s: {_verdict(found, target)}"
        print(f"{name:<34}{found:8.2f} s{told}")
    if args.json:
        write(args.json, json.dumps(asdict(report), indent=2) + "\n", "json")
    return 0 if not judged or report.holds else 1


def server_of(args: argparse.Namespace, bar: Bar) -> tuple[str, list[str]]:
    """The model's name, and the words that start its server. Raises as `find_model` does."""
    from ...executor.model_place import find_model
    from ..demo import ensure_model

    if args.model is None:
        model = ensure_model("small", bar)
        name = model.name
    else:
        place = find_model(args.model)
        model, name = place.folder, place.names[0]
    return name, [str(model.resolve()), *(["--no-spare-engine"] if args.no_spare_engine else [])]


def _verdict(found: float, target: float) -> str:
    return "held" if found <= target else "MISSED"
