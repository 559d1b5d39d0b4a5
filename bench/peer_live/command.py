"""`skipjoin bench live --peer NAME`.

Owns the flags, the files and the exit code: 0 measured and every bar that could be judged holds, 1 one does not or visits are left. It measures
nothing itself; `bench/command.py` calls it.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

from ...console.json_flag import add_json_flag
from ...console.output_file import write
from ...core.errors import InvalidSettings


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `bench live`."""
    parser.add_argument("--peer", required=True, metavar="NAME", help="of bench peers, one that serves")
    parser.add_argument(
        "--scenario", metavar="FILE", action="append", help="instead of those that ship; may be repeated"
    )
    parser.add_argument("--repeats", type=int, metavar="N", help="instead of the scenario's")
    parser.add_argument("--visits", type=int, metavar="N", help="start at most so many servers now; run again to go on")
    parser.add_argument("--port", type=int, metavar="N", help="the peer's port (default: one that is free)")
    add_json_flag(parser, "what was measured, an object a line (and gone on with what is in FILE),")
    parser.add_argument("--plot", metavar="FILE", help="draw latency against load there (SVG)")


def run(args: argparse.Namespace) -> int:
    """Measure. Raises InvalidSettings, InvalidInput, Unavailable."""
    from ...core.clock import MonotonicClock, unix_ns
    from ...model.config import load_config
    from ..demo import ensure_model
    from ..machine import machine_facts
    from ..peers.catalogue import peer_named
    from ..peers.home import Home
    from ..progress import Bar
    from .contest import Key, Ledger, compete
    from .figures import Standings
    from .plot import picture_of
    from .render import print_head, print_standings
    from .scenario import Scenario, load_scenario, scenario_files
    from .servers import own_contender, peer_contender
    from .visit import Ground

    _check(args)
    peer = peer_named(args.peer)
    if peer.serve is None:
        raise InvalidSettings(f"{peer.name} has no server; `bench engine` compares with it.", field="peer")
    version = Home(peer).require()
    files = [Path(file) for file in args.scenario] if args.scenario else scenario_files()
    changed = {} if args.repeats is None else {"repeats": args.repeats}
    scenarios: list[Scenario] = [load_scenario(file).model_copy(update=changed) for file in files]
    ledger = Ledger(args.json)
    facts, all_standings, left = machine_facts(), [], args.visits
    print_head(facts, f"{peer.title} {version}")
    ledger.add({"kind": "head", "machine": asdict(facts), "peer": peer.name, "version": version, "unix_ns": unix_ns()})
    whole = True
    with Bar() as bar:
        for scenario in scenarios:
            model = ensure_model(scenario.model, bar)
            config = load_config(model)
            key = Key(scenario.digest(), facts.code, f"{peer.name} {version}", facts.hardware)
            ours = [own_contender(policy, model, config, scenario) for policy in scenario.policies]
            ground = Ground(scenario, config.vocab_size, MonotonicClock(), bar)
            before = len(ledger.lines)
            done = compete(ground, key, peer_contender(peer, model, scenario, args.port), ours, ledger, left)
            left = None if left is None else left - (len(ledger.lines) - before)
            whole = whole and done
            all_standings.append(Standings(scenario, peer.name, ledger.of(key)))
            print_standings(all_standings[-1], done)
    if args.plot is not None:
        write(args.plot, picture_of(all_standings, facts.sentence()), "plot")
    verdicts = [verdict for standings in all_standings for verdict in standings.verdicts()]
    troubles = any(standings.troubles() for standings in all_standings)
    return 0 if whole and not troubles and all(verdict.holds is not False for verdict in verdicts) else 1


def _check(args: argparse.Namespace) -> None:
    for flag, high in (("repeats", 100), ("visits", 1_000_000), ("port", 65_535)):
        value = getattr(args, flag)
        if value is not None and not 1 <= value <= high:
            raise InvalidSettings(f"--{flag} is {value}.", field=flag, limit=f"1..{high}")
