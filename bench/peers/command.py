"""`skipjoin bench peers`, `skipjoin bench engine` and `skipjoin bench live --peer NAME`.

Owns the flags, the files and the exit codes. It measures and installs nothing itself.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import asdict
from pathlib import Path

from ...console.json_flag import add_json_flag
from ...console.output_file import write
from ...core.errors import InvalidSettings
from ..flags import Flags, check_bounds, words_of
from .catalogue import DEVICES, PEERS, peer_named
from .home import Home
from .scenario import BEST_PEER, ENGINE, LINEAR, LIVE, EngineScenario, LiveScenario


# bench peers --------------------------------------------------------------------------------------
def configure_peers(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `bench peers`."""
    what = "each peer has a virtual environment of its own"
    parser.add_argument("what", choices=("install", "list", "remove"), help=what)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(PEERS)}")
    Flags(parser).choice("device", DEVICES, "for which torch is built; each has an environment", "cpu")


def run_peers(args: argparse.Namespace) -> int:
    """Install, list or remove. Raises InvalidSettings, Unavailable."""
    from ..progress import Bar
    from .install import install

    peers = [peer_named(name, "names") for name in args.names]
    if args.what == "list":
        for peer in peers or PEERS.values():
            home = Home(peer, args.device)
            print(f"{peer.name:<16} {peer.title:<32} {peer.unable(args.device) or home.version() or home.absence}")
        return 0
    if not peers:
        raise InvalidSettings(f"Name the peers to {args.what}.", field="names", limit=f"of {', '.join(PEERS)}")
    if args.what == "install":
        with Bar() as bar:
            for peer in peers:
                install(Home(peer, args.device), bar)
        return 0
    for peer in peers:
        print(f"{peer.name}: {'removed' if Home(peer, args.device).remove() else 'was not there'}")
    return 0


# bench engine -------------------------------------------------------------------------------------
def configure_engine(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `bench engine`."""
    flags = Flags(parser)
    flags.value("scenario", "FILE", "instead of the one that ships")
    flags.value("peers", "A,B", "of bench peers (default: all that are installed; `none`: ours alone)")
    flags.value("repeats", "N", "instead of the scenario's", kind=int)
    flags.value("model", "MODEL", "a folder or id of the hub, instead of the scenario's preset")
    flags.choice("device", ("auto", "cpu", "cuda"), "of all systems, instead of the scenario's")
    precisions = ("auto", "float32", "bfloat16", "float16")
    flags.choice("dtype", precisions, "of all systems' weights and KV, instead of the scenario's")
    add_json_flag(parser, "every run, an object a line,")
    flags.value("plot", "FILE", "draw the rates there (SVG)")


def run_engine(args: argparse.Namespace) -> int:
    """0 measured and every bar that could be judged holds, 1 one does not or a peer failed.

    Raises InvalidSettings, InvalidInput, InvalidModel, Unavailable.
    """
    from ...core.clock import MonotonicClock, unix_ns
    from ...model.config import load_config
    from ...model.source.model_place import find_model
    from ..cached_model import ensure_model
    from ..json_file import json_lines
    from ..machine import machine_facts
    from ..progress import Bar
    from .engine import measure, systems_of, taking_part
    from .engine_study import EngineStudy
    from .plot import engine_picture
    from .render import print_engine, print_engine_head, run_line, summary_line, systems_line

    scenario, device = _engine_scenario(args)
    asked = None if args.peers is None else [name for name in words_of(args.peers) if args.peers != "none"]
    present, absent = taking_part(asked, scenario)
    facts, begun_ns = machine_facts(), MonotonicClock().now_ns()
    study = EngineStudy(scenario, absent=absent)
    head: dict[str, object] = {"kind": "head", "machine": asdict(facts), "scenario": scenario.model_dump()}
    with (
        Bar() as bar,
        json_lines(args.json) as add,
        tempfile.TemporaryDirectory(prefix="skipjoin-bench-") as folder,
    ):
        model = ensure_model(scenario.model, bar) if args.model is None else find_model(args.model).folder
        config, named = load_config(model), args.model or scenario.model
        print_engine_head(study, facts, device, named)
        add(head | {"model": named, "device": device, "unix_ns": unix_ns()})
        systems, roof = systems_of(scenario, config, present, Path(folder))
        for number, said in enumerate(measure(study, model, config.vocab_size, systems, roof, bar)):
            if not number:
                add(systems_line(study))
            add(run_line(said))
        add(summary_line(study))
    print_engine(study)
    print(f"\nMeasured in {(MonotonicClock().now_ns() - begun_ns) / 1e9:.0f} s")
    if args.plot is not None:
        write(args.plot, engine_picture(study, facts.sentence()), "plot")
    return 0 if all(one.holds is not False for one in study.verdicts()) and not study.failed else 1


def _engine_scenario(args: argparse.Namespace) -> tuple[EngineScenario, str]:
    """What is measured, device and precision resolved, and what the device calls itself."""
    from ...executor.capacity import resolve_device, resolve_dtype
    from ..machine import device_facts
    from ..scenario_file import read_scenario

    file = ENGINE / "engine.toml" if args.scenario is None else Path(args.scenario)
    scenario = read_scenario(file, EngineScenario)
    check_bounds(args, repeats=(1, 100))
    for wanted in scenario.bars:
        if wanted.over not in (BEST_PEER, LINEAR):
            peer_named(wanted.over, "bars.over")
    told = {name: value for name in ("repeats", "device", "dtype") if (value := getattr(args, name)) is not None}
    scenario = scenario.model_copy(update=told)
    device = resolve_device(scenario.device)
    dtype = resolve_dtype(scenario.dtype, device)
    facts = device_facts(device, dtype)
    return scenario.model_copy(update={"device": device.type, "dtype": facts.dtype}), facts.device


# bench live ---------------------------------------------------------------------------------------
def configure_live(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `bench live`."""
    flags = Flags(parser)
    flags.value("peer", "NAME", "of bench peers, one that serves", required=True)
    flags.value("scenario", "FILE", "instead of those that ship; may be repeated", action="append")
    flags.value("repeats", "N", "instead of the scenario's", kind=int)
    flags.value("visits", "N", "start at most so many servers now; run again to go on", kind=int)
    flags.value("port", "N", "the peer's port (default: one that is free)", kind=int)
    add_json_flag(parser, "what was measured, an object a line (and gone on with what is in FILE),")
    flags.value("plot", "FILE", "draw latency against load there (SVG)")


def run_live(args: argparse.Namespace) -> int:
    """0 measured and every bar that could be judged holds, 1 one does not or visits are left.

    Raises InvalidSettings, InvalidInput, Unavailable.
    """
    from ...core.clock import MonotonicClock, unix_ns
    from ...model.config import load_config
    from ..cached_model import ensure_model
    from ..machine import machine_facts
    from ..progress import Bar
    from ..scenario_file import read_scenario
    from .contest import Key, VisitFile, compete
    from .live_study import LiveStudy
    from .plot import live_picture
    from .render import print_live, print_live_head
    from .visit import VisitContext, own_contender, peer_contender

    check_bounds(args, repeats=(1, 100), visits=(1, 1_000_000), port=(1, 65_535))
    peer = peer_named(args.peer)
    if peer.serve is None:
        raise InvalidSettings(f"{peer.name} has no server; `bench engine` compares with it.", field="peer")
    version = Home(peer).require()
    changed = {} if args.repeats is None else {"repeats": args.repeats}
    files = [Path(file) for file in args.scenario or sorted(LIVE.glob("*.toml"))]
    scenarios = [read_scenario(file, LiveScenario).model_copy(update=changed) for file in files]
    file, facts, studies, whole = VisitFile(args.json), machine_facts(), list[LiveStudy](), True
    left = args.visits
    print_live_head(facts, f"{peer.title} {version}")
    file.add({"kind": "head", "machine": asdict(facts), "peer": peer.name, "version": version, "unix_ns": unix_ns()})
    with Bar() as bar:
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
