"""`skipjoin bench engine`.

Owns the flags, the files and the exit code: 0 measured and every bar that could be judged holds, 1 one does not or a peer failed. It measures nothing
itself; `bench/command.py` calls it.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import asdict
from pathlib import Path

from ...core.errors import InvalidSettings
from ...core.places import write


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `bench engine`."""
    parser.add_argument("--scenario", metavar="FILE", help="instead of the one that ships")
    parser.add_argument(
        "--peers", metavar="A,B", help="of bench peers (default: all that are installed; `none`: ours alone)"
    )
    parser.add_argument("--repeats", type=int, metavar="N", help="instead of the scenario's")
    parser.add_argument("--model", metavar="DIR", help="instead of the scenario's preset; float32")
    parser.add_argument(
        "--json", metavar="FILE", help="write every run there, a JSON object a line; FILE.part until all have ended"
    )
    parser.add_argument("--plot", metavar="FILE", help="draw the rates there (SVG)")


def run(args: argparse.Namespace) -> int:
    """Measure. Raises InvalidSettings, InvalidModel, Unavailable."""
    from ...core.clock import MonotonicClock, unix_ns
    from ...executor.config import load_config
    from ..demo import ensure_model
    from ..growing_file import growing_file
    from ..kv_room import kv_gib
    from ..machine import machine_facts
    from ..peers.catalogue import PEERS, peer_named
    from ..peers.home import Home, install_words
    from ..peers.runner import own_runner, peer_runner
    from ..progress import Bar
    from .figures import OURS, Study
    from .measure import measure
    from .plot import picture_of
    from .render import line_of, print_head, print_study, summary_of, systems_of
    from .scenario import BEST_PEER, FILE, LINEAR, load_scenario

    scenario = load_scenario(FILE if args.scenario is None else Path(args.scenario))
    if args.repeats is not None:
        if not 1 <= args.repeats <= 100:
            raise InvalidSettings(f"--repeats is {args.repeats}.", field="repeats", limit="1..100")
        scenario = scenario.model_copy(update={"repeats": args.repeats})
    for wanted in scenario.bars:
        if wanted.over not in (BEST_PEER, LINEAR):
            peer_named(wanted.over, "bars.over")
    names = list(PEERS) if args.peers is None else [name.strip() for name in args.peers.split(",") if name.strip()]
    peers = [] if names == ["none"] else [peer_named(name, "peers") for name in dict.fromkeys(names)]
    if args.peers is not None:
        for peer in peers:  # who was asked for by name is missed; of all of them, whoever is there will do
            Home(peer).require("peers")
    facts, study, begun_ns = machine_facts(), Study(scenario), MonotonicClock().now_ns()
    head: dict[str, object] = {"kind": "head", "machine": asdict(facts), "scenario": scenario.model_dump()}
    with (
        Bar() as bar,
        growing_file(args.json, "json") as lines,
        tempfile.TemporaryDirectory(prefix="skipjoin-bench-") as folder,
    ):
        model = ensure_model(scenario.model, bar) if args.model is None else Path(args.model)
        config = load_config(model)
        named = scenario.model if args.model is None else str(model)
        print_head(study, facts, named)
        lines(head | {"model": named, "unix_ns": unix_ns()})
        threads = scenario.threads
        systems = [(own_runner(OURS, "bench.offline.own_runner", threads, Path(folder) / "ours.log"), Path(folder))]
        for peer in peers:
            if peer.runner is not None and Home(peer).version() is not None:
                room = kv_gib(config, max(scenario.batches) * scenario.room_tokens)
                systems.append((peer_runner(peer, threads, room), Home(peer).kept))
            elif peer.runner is not None:
                study.absent[peer.name] = f"not installed: run `{install_words(peer)}`"
        roof = own_runner("linear layers", "bench.offline.roof_runner", threads, Path(folder) / "roof.log")
        for number, said in enumerate(measure(study, model, config.vocab_size, systems, roof, bar)):
            if not number:
                lines(systems_of(study))
            lines(line_of(said))
        lines(summary_of(study))
    print_study(study)
    print(f"\nMeasured in {(MonotonicClock().now_ns() - begun_ns) / 1e9:.0f} s")
    if args.plot is not None:
        write(args.plot, picture_of(study, facts.sentence()), "plot")
    return 0 if all(verdict.holds is not False for verdict in study.verdicts()) and not study.failed else 1
