"""`skipjoin bench engine`: its flags, its files and its exit code."""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import asdict
from pathlib import Path

from ...console.json_flag import add_json_flag
from ...console.output_file import write
from ...core.clock import MonotonicClock, unix_ns
from ...executor.capacity import resolve_device, resolve_dtype
from ...model.config import load_config
from ...model.source.model_place import find_model
from ..cached_model import ensure_model
from ..flags import Flags, check_bounds, words_of
from ..json_file import json_lines
from ..machine import device_facts, machine_facts
from ..progress import Bar
from ..scenario_file import read_scenario
from .catalogue import peer_named
from .engine import EngineStudy, measure, systems_of, taking_part
from .render import engine_picture, print_engine, print_engine_head, run_line, summary_line, systems_line
from .scenario import BEST_PEER, ENGINE, LINEAR, EngineScenario


def configure(parser: argparse.ArgumentParser) -> None:
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


def run(args: argparse.Namespace) -> int:
    """0 measured and every bar that could be judged holds, 1 one does not or a peer failed.

    Raises InvalidSettings, InvalidInput, InvalidModel, Unavailable.
    """
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
    print_engine(study, (MonotonicClock().now_ns() - begun_ns) / 1e9)
    if args.plot is not None:
        write(args.plot, engine_picture(study, facts.sentence()), "plot")
    return 0 if all(one.holds is not False for one in study.verdicts()) and not study.failed else 1


def _engine_scenario(args: argparse.Namespace) -> tuple[EngineScenario, str]:
    """What is measured, device and precision resolved, and what the device calls itself."""
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
