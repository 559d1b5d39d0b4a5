"""`skipjoin bench ACTION`.

Owns the table of actions, and what is true of all: an output file is looked at before the work, and
an end from outside ends what was started. Exit codes: 0 measured, and every bar that there is held;
1 a bar did not hold. A room's own `command` has its flags.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from importlib import import_module

from ..console.json_flag import STANDARD, json_alone
from ..console.output_file import place
from .charts.sheet import matplotlib
from .demo import command as demo
from .device import command as device
from .interrupts import signals_interrupt
from .load import command as load
from .matrix import command as matrix
from .peers import command as peers
from .recovery import command as recovery
from .report import command as report
from .studies import command as studies


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `bench` and its sub-commands."""
    actions = parser.add_subparsers(title="actions", dest="action", metavar="ACTION", required=True)
    for name, (help_, flags, _) in ACTIONS.items():
        flags(actions.add_parser(name, help=help_))


def run(args: argparse.Namespace) -> int:
    """Measure what was asked. Raises SkipjoinError."""
    if getattr(args, "plot", None) is not None:
        matplotlib()
    for flag in ("json", "plot", "markdown"):
        if (file := getattr(args, flag, None)) is not None and (file != STANDARD or flag != "json"):
            place(file, flag)
    with signals_interrupt(), json_alone(getattr(args, "json", None)):
        return ACTIONS[args.action][2](args)


def _module(name: str) -> Callable[[argparse.Namespace], int]:
    """What calls `run` of that module, which is imported when it is called."""

    def run_module(args: argparse.Namespace) -> int:
        code: int = import_module(f".{name}", __package__).run(args)
        return code

    return run_module


Action = tuple[str, Callable[[argparse.ArgumentParser], None], Callable[[argparse.Namespace], int]]
ACTIONS: dict[str, Action] = {
    "run": ("open-loop load against a server; latency from the scheduled time", load.configure, load.run),
    "turn": (
        "the engine's own time per iteration, alone and beside a model",
        device.configure_turn,
        _module("device.turn.run"),
    ),
    "kernels": (
        "each kernel beside its reference, torch's and the rooflines",
        device.configure_kernels,
        _module("device.kernels.run"),
    ),
    "step": (
        "whole iterations of the executor beside the device's rooflines",
        device.configure_step,
        _module("device.step.run"),
    ),
    "pool": ("submits and token-log commits a second of the job pools", device.configure_pool, _module("device.pool")),
    "fidelity": (
        "measured runs of another server beside their replays",
        studies.configure_fidelity,
        studies.run_fidelity,
    ),
    "published": (
        "FastServe's published points on OPT-13B beside simulated ones",
        studies.configure_published,
        studies.run_published,
    ),
    "demo": ("a small model, a server, the same jobs under each policy", demo.configure, demo.run),
    "matrix": ("policies x traces x loads x batches in the simulator", matrix.configure, _module("matrix.run")),
    "report": ("a matrix's results as a page with charts", report.configure, report.run),
    "peers": (
        "install other engines, each by itself, to be measured beside ours",
        peers.configure_peers,
        peers.run_peers,
    ),
    "against": (
        "turn, engine or pool of this code beside those of another checkout",
        device.configure_against,
        _module("device.against"),
    ),
    "recovery": ("starts, and how soon tokens come after the engine is killed", recovery.configure, recovery.run),
    "engine": (
        "tokens a second without a server, beside the peers' engines",
        peers.configure_engine,
        peers.run_engine,
    ),
    "live": ("a peer's server and ours behind HTTP, with the same requests", peers.configure_live, peers.run_live),
}
"""Name -> help, what adds its flags, what runs it."""
