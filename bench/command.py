"""`skipjoin bench ACTION`.

Owns the table of actions, and what is true of all: an output file is looked at before the work, and
an end from outside ends what was started. Exit codes: 0 measured, and every bar that there is held;
1 a bar did not hold. The module of an action has its flags and runs it; it is imported when it is
chosen.
"""

from __future__ import annotations

import argparse
from importlib import import_module
from typing import Any

from ..console.json_flag import STANDARD, json_alone
from ..console.output_file import place
from .charts.sheet import matplotlib
from .interrupts import signals_interrupt

ACTIONS = {
    "run": ("load.command", "open-loop load against a server; latency from the scheduled time"),
    "turn": ("device.turn.run", "the engine's own time per iteration, alone and beside a model"),
    "kernels": ("device.kernels.run", "each kernel beside its reference, torch's and the rooflines"),
    "step": ("device.step.run", "whole iterations of the executor beside the device's rooflines"),
    "scaling": ("device.scaling", "a decode step on one rank and on several that share the model"),
    "pool": ("device.pool", "submits and token-log commits a second of the job pools"),
    "fidelity": ("studies.fidelity", "measured runs of another server beside their replays"),
    "published": ("studies.published", "FastServe's published points on OPT-13B beside simulated ones"),
    "demo": ("demo.command", "a small model, a server, the same jobs under each policy"),
    "matrix": ("matrix.command", "policies x traces x loads x batches in the simulator"),
    "report": ("report.command", "a matrix's results as a page with charts"),
    "peers": ("peers.install", "install other engines, each by itself, to be measured beside ours"),
    "against": ("device.against", "turn, engine or pool of this code beside those of another checkout"),
    "recovery": ("recovery.command", "starts, and how soon tokens come after the engine is killed"),
    "engine": ("peers.engine_command", "tokens a second without a server, beside the peers' engines"),
    "live": ("peers.live_command", "a peer's server and ours behind HTTP, with the same requests"),
}
"""Name -> the module with its `configure` and `run`, and help."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the actions; the flags of one are added when it is chosen."""
    actions = parser.add_subparsers(title="actions", dest="action", metavar="ACTION", required=True)
    for name, (_, help_) in ACTIONS.items():
        _configured_late(actions.add_parser(name, help=help_), name)


def run(args: argparse.Namespace) -> int:
    """Measure what was asked. Raises SkipjoinError."""
    if getattr(args, "plot", None) is not None:
        matplotlib()
    for flag in ("json", "plot", "markdown"):
        if (file := getattr(args, flag, None)) is not None and (file != STANDARD or flag != "json"):
            place(file, flag)
    with signals_interrupt(), json_alone(getattr(args, "json", None)):
        code: int = _module(args.action).run(args)
    return code


def _module(action: str) -> Any:
    return import_module(f".{ACTIONS[action][0]}", __package__)


def _configured_late(parser: argparse.ArgumentParser, action: str) -> None:
    """Have the parser ask the action's module for its flags when it parses: most import torch."""
    parse = parser.parse_known_args

    def parse_known_args(args: Any = None, namespace: Any = None) -> Any:
        parser.parse_known_args = parse  # type: ignore[method-assign]
        _module(action).configure(parser)
        return parse(args, namespace)

    parser.parse_known_args = parse_known_args  # type: ignore[method-assign]
