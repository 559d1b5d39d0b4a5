"""`skipjoin bench live`: its flags, its files and its exit code."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

from ...console.json_flag import add_json_flag
from ...console.output_file import write
from ...core.clock import MonotonicClock, unix_ns
from ...core.errors import InvalidSettings
from ...model.config import load_config
from ..cached_model import ensure_model
from ..flags import Flags, check_bounds
from ..machine import machine_facts
from ..progress import Bar
from ..scenario_file import read_scenario
from .catalogue import Home, peer_named
from .contest import Key, LiveStudy, VisitFile, compete
from .render import live_picture, print_live, print_live_head
from .scenario import LIVE, LiveScenario
from .visit import VisitContext, own_contender, peer_contender


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `bench live`."""
    flags = Flags(parser)
    flags.value("peer", "NAME", "of bench peers, one that serves", required=True)
    flags.value("scenario", "FILE", "instead of those that ship; may be repeated", action="append")
    flags.value("repeats", "N", "instead of the scenario's", kind=int)
    flags.value("visits", "N", "start at most so many servers now; run again to go on", kind=int)
    flags.value("port", "N", "the peer's port (default: one that is free)", kind=int)
    add_json_flag(parser, "what was measured, an object a line (and gone on with what is in FILE),")
    flags.value("plot", "FILE", "draw latency against load there (SVG)")


def run(args: argparse.Namespace) -> int:
    """0 measured and every bar that could be judged holds, 1 one does not or visits are left.

    Raises InvalidSettings, InvalidInput, Unavailable.
    """
    check_bounds(args, repeats=(1, 100), visits=(1, 1_000_000), port=(1, 65_535))
    peer = peer_named(args.peer)
    if peer.serve is None:
        raise InvalidSettings(f"{peer.name} has no server; `bench engine` compares with it.", field="peer")
    version = Home(peer).require()
    changed = {} if args.repeats is None else {"repeats": args.repeats}
    files = [Path(file) for file in args.scenario or sorted(LIVE.glob("*.toml"))]
    scenarios = [read_scenario(file, LiveScenario).model_copy(update=changed) for file in files]
    facts, studies, whole, left = machine_facts(), list[LiveStudy](), True, args.visits
    head = {"kind": "head", "machine": asdict(facts), "peer": peer.name, "version": version, "unix_ns": unix_ns()}
    with Bar() as bar, VisitFile(args.json) as file:
        print_live_head(facts, f"{peer.title} {version}")
        file.add(head)
        for scenario in scenarios:
            model = ensure_model(scenario.model, bar)
            config = load_config(model)
            key = Key(scenario.digest(), facts.code, f"{peer.name} {version}", facts.hardware)
            ours = [own_contender(policy, model, config, scenario) for policy in scenario.policies]
            context = VisitContext(scenario, config.vocab_size, MonotonicClock(), bar)
            before = len(file.lines)
            done = compete(context, key, peer_contender(peer, model, scenario, args.port), ours, file, left)
            left = None if left is None else left - (len(file.lines) - before)
            whole = whole and done
            studies.append(LiveStudy(scenario, peer.name, file.of(key)))
            print_live(studies[-1], done)
    if args.plot is not None:
        write(args.plot, live_picture(studies, facts.sentence()), "plot")
    holds = all(one.holds is not False for study in studies for one in study.verdicts())
    return 0 if whole and holds and not any(study.troubles() for study in studies) else 1
