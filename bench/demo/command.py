"""`skipjoin bench demo`.

Owns the flags. `session` does what they say.
"""

from __future__ import annotations

import argparse

from ...console.json_flag import add_json_flag
from ..flags import Flags


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `bench demo`."""
    flags = Flags(parser)
    flags.value("policies", "A,B,C", "", "fcfs,skipjoin,adaptive")
    flags.value("scenario", "FILE", "instead of those that ship; may be repeated", action="append")
    flags.value("fidelity", "N", "instead: each scenario N times, policies in turn; medians and spread", kind=int)
    flags.value("record", "DIR", "keep the engine's record of each run there")
    flags.switch("check", "judge by the bars also where the machine was busy meanwhile")
    add_json_flag(parser, "the figures")


def run(args: argparse.Namespace) -> int:
    """0 when every bar held that could be judged, else 1."""
    from .session import run_demo

    return run_demo(args)
