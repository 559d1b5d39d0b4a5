"""`skipjoin bench engine`.

Owns the flags, the files and the exit code: 0 measured and every bar that could be judged holds, 1 one does not or a peer failed. It measures nothing
itself; `bench/command.py` calls it.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import asdict
from pathlib import Path

from ...console.json_flag import add_json_flag
from ...console.output_file import write
from ...core.errors import InvalidSettings
from ..peers.catalogue import PEERS, Peer, peer_named
from ..peers.home import Home, install_words
from .scenario import BEST_PEER, FILE, LINEAR, Scenario, load_scenario


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `bench engine`."""
    parser.add_argument("--scenario", metavar="FILE", help="instead of the one that ships")
    parser.add_argument(
        "--peers", metavar="A,B", help="of bench peers (default: all that are installed; `none`: ours alone)"
    )
    parser.add_argument("--repeats", type=int, metavar="N", help="instead of the scenario's")
    parser.add_argument("--model", metavar="MODEL", help="a folder or id of the hub, instead of the scenario's preset")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), help="of all systems, instead of the scenario's")
    parser.add_argument(
        "--dtype",
        choices=("auto", "float32", "bfloat16", "float16"),
        help="of all systems' weights and KV, instead of the scenario's",
    )
    add_json_flag(parser, "every run, an object a line,")
    parser.add_argument("--plot", metavar="FILE", help="draw the rates there (SVG)")


def run(args: argparse.Namespace) -> int:
    """Measure. Raises InvalidSettings, InvalidInput, InvalidModel, Unavailable."""
    from ...core.clock import MonotonicClock, unix_ns
    from ...model.config import load_config
    from ...model.source.model_place import find_model
    from ..demo import ensure_model
    from ..json_file import json_lines
    from ..kv_room import kv_gib
    from ..machine import machine_facts
    from ..peers.runner import own_runner, peer_runner
    from ..progress import Bar
    from .figures import OURS, Study
    from .measure import measure
    from .plot import picture_of
    from .render import line_of, print_head, print_study, summary_of, systems_of

    scenario, device = _scenario(args)
    present, absent = _peers(args.peers, scenario)
    facts, begun_ns = machine_facts(), MonotonicClock().now_ns()
    study = Study(scenario, absent=absent)
    head: dict[str, object] = {"kind": "head", "machine": asdict(facts), "scenario": scenario.model_dump()}
    with (
        Bar() as bar,
        json_lines(args.json) as lines,
        tempfile.TemporaryDirectory(prefix="skipjoin-bench-") as folder,
    ):
        model = ensure_model(scenario.model, bar) if args.model is None else find_model(args.model).folder
        config = load_config(model)
        named = scenario.model if args.model is None else args.model
        print_head(study, facts, device, named)
        lines(head | {"model": named, "device": device, "unix_ns": unix_ns()})
        threads = scenario.threads
        systems = [(own_runner(OURS, "bench.offline.own_runner", threads, Path(folder) / "ours.log"), Path(folder))]
        room = kv_gib(config, max(scenario.batches) * scenario.room_tokens)
        for peer in present:
            systems.append((peer_runner(peer, threads, room, scenario.device), Home(peer, scenario.device).kept))
        roof = None
        if scenario.device == "cpu":  # `bench kernels` has those of a GPU
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


def _scenario(args: argparse.Namespace) -> tuple[Scenario, str]:
    """What is measured, device and precision resolved, and what the device calls itself."""
    from ...executor.capacity import resolve_device, resolve_dtype
    from ..machine import device_facts

    scenario = load_scenario(FILE if args.scenario is None else Path(args.scenario))
    if args.repeats is not None and not 1 <= args.repeats <= 100:
        raise InvalidSettings(f"--repeats is {args.repeats}.", field="repeats", limit="1..100")
    for wanted in scenario.bars:
        if wanted.over not in (BEST_PEER, LINEAR):
            peer_named(wanted.over, "bars.over")
    told = {name: value for name in ("repeats", "device", "dtype") if (value := getattr(args, name)) is not None}
    scenario = scenario.model_copy(update=told)
    device = resolve_device(scenario.device)
    dtype = resolve_dtype(scenario.dtype, device)
    told = {"device": device.type, "dtype": str(dtype).removeprefix("torch.")}
    return scenario.model_copy(update=told), device_facts(device, dtype).device


def _peers(asked: str | None, scenario: Scenario) -> tuple[list[Peer], dict[str, str]]:
    """Those that take part, and why the others do not. Raises InvalidSettings for one that is missed: how to install it."""
    device = scenario.device
    names = list(PEERS) if asked is None else [name.strip() for name in asked.split(",") if name.strip()]
    peers = [] if names == ["none"] else [peer_named(name, "peers") for name in dict.fromkeys(names)]
    present, absent, missed = [], {}, []
    for peer in peers:
        if peer.runner is None:
            continue
        if (why := peer.unable(device, scenario.dtype)) is not None:
            absent[peer.name] = why
        elif (home := Home(peer, device)).version() is not None:
            present.append(peer)
        else:
            absent[peer.name] = home.absence
            missed.append(peer)
    # Who was asked for by name is missed; of all of them, whoever is there will do, unless the scenario is of no use without.
    if missed and (asked is not None or scenario.peers_needed):
        alone = "" if asked is not None else ", or say --peers none to measure ours alone"
        raise InvalidSettings(
            f"{', '.join(peer.name for peer in missed)} {'is' if len(missed) == 1 else 'are'} not installed"
            f"{'' if device == 'cpu' else f' for {device}'}: run `{install_words(missed, device)}`{alone}.",
            field="peers",
        )
    return present, absent
