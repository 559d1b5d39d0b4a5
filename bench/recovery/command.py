"""`skipjoin bench recovery`: starts, and kills of the engine under load.

Owns flags, table and exit code: 0 measured, and every target held where they apply; 1 one did not.
It measures nothing; `kills` does.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import asdict
from pathlib import Path

from ...console.json_flag import add_json_flag
from ..flags import Flags, check_bounds
from ..progress import Bar


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `bench recovery`."""
    flags = Flags(parser)
    preset = "a folder or id of the hub (default: small, for which there are targets with a spare)"
    flags.value("model", "MODEL", preset)
    flags.value("kills", "N", "", 20)
    flags.value("clients", "N", "that take tokens meanwhile", 4)
    flags.value("pause-s", "S", "with tokens between two kills", 2.0)
    flags.switch("no-spare-engine", "let the server start its engines from nothing, as its own flag does")
    add_json_flag(parser, "the figures")


def run(args: argparse.Namespace) -> int:
    """Measure. Raises InvalidSettings, Unavailable."""
    from ...core.clock import MonotonicClock
    from ..json_file import write_json
    from .kills import COLD_S, P50_S, P99_S, WARM_S, Load, measure

    check_bounds(args, kills=(1, 10_000), clients=(1, 64), pause_s=(0, 600))
    with Bar() as bar, tempfile.TemporaryDirectory(prefix="skipjoin-bench-") as folder:
        name, flags = server_of(args, bar)
        home, clock = Path(folder), MonotonicClock()
        load = Load(args.kills, args.clients, args.pause_s)
        report = measure(name, flags, home, clock, load, bar.note)
    judged = args.model is None and not args.no_spare_engine
    print(f"{report.model}, {report.kills} kills, {report.clients} clients")
    for label, found, target in (
        ("cold start", report.cold_s, COLD_S),
        ("warm start", report.warm_s, WARM_S),
        ("next token after a kill, p50", report.percentile_s(50), P50_S),
        ("next token after a kill, p99", report.percentile_s(99), P99_S),
        ("next token after a kill, longest", max(report.waits_s), None),
    ):
        told = ""
        if judged and target is not None:
            told = f"   target {target:g} s: {'held' if found <= target else 'MISSED'}"
        print(f"{label:<34}{found:8.2f} s{told}")
    write_json(args.json, asdict(report))
    return 0 if not judged or report.holds else 1


def server_of(args: argparse.Namespace, bar: Bar) -> tuple[str, list[str]]:
    """The model's name, and the words that start its server. Raises as `find_model` does."""
    from ...model.source.model_place import find_model
    from ..cached_model import ensure_model

    if args.model is None:
        model = ensure_model("small", bar)
        name = model.name
    else:
        place = find_model(args.model)
        model, name = place.folder, place.names[0]
    return name, [str(model.resolve()), *(["--no-spare-engine"] if args.no_spare_engine else [])]
