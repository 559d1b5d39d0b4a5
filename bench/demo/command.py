"""`skipjoin bench demo`: scenarios, or the fidelity runs, shown as they come.

Owns the flags, the folders, the order of scenarios, the JSON and the exit code.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

from ...console.json_flag import add_json_flag
from ...core.clock import MonotonicClock
from ...core.errors import InvalidInput
from ..cached_model import ensure_model
from ..flags import Flags, check_bounds, words_of
from ..json_file import write_json
from ..progress import Bar
from .fidelity import Fidelity, repeat
from .render import print_fidelity, print_outcome, print_repeat
from .runs import RunContext, check_policies, run_scenario
from .scenario import Scenario, load_scenario, scenario_files

Value = dict[str, object]


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
    """Run every scenario under every policy: 0 when every bar held that could be judged, else 1.

    Raises SkipjoinError.
    """
    check_bounds(args, fidelity=(1, 1000))
    record = None if args.record is None else _made(Path(args.record))
    policies = words_of(args.policies)
    scenarios = [load_scenario(Path(path)) for path in args.scenario or scenario_files()]
    check_policies(policies)
    with Bar() as bar, tempfile.TemporaryDirectory(prefix="skipjoin-demo-") as folder:
        models = {name: ensure_model(name, bar) for name in sorted({str(one.model) for one in scenarios})}
        context = RunContext(models, Path(folder), record, MonotonicClock(), bar)
        measure = _scenarios if args.fidelity is None else _fidelity
        value, holds = measure(args, scenarios, policies, context)
    write_json(args.json, value)
    return 0 if holds else 1


def _scenarios(
    args: argparse.Namespace, scenarios: Sequence[Scenario], policies: Sequence[str], context: RunContext
) -> tuple[Value, bool]:
    outcomes = []
    for scenario in scenarios:
        outcomes.append(run_scenario(scenario, policies, context))
        print_outcome(outcomes[-1])
    holds = all(outcome.holds(strict=args.check) for outcome in outcomes)
    return {"scenarios": [outcome.as_json() for outcome in outcomes]}, holds


def _fidelity(
    args: argparse.Namespace, scenarios: Sequence[Scenario], policies: Sequence[str], context: RunContext
) -> tuple[Value, bool]:
    verdicts = []
    for scenario in scenarios:
        for said in repeat(scenario, policies, args.fidelity, context):
            if isinstance(said, Fidelity):
                print_fidelity(said)
                verdicts.append(said)
            else:
                print_repeat(scenario, said)
    # A policy whose requests all failed has no verdict, and must not pass for one that holds.
    whole = len(verdicts) == len(scenarios) * len(set(policies))
    # Where every run was set apart nothing says that the profile is true.
    known = all(None not in (one.faithful, one.priced) for one in verdicts)
    holds = whole and (known or not args.check) and all(one.holds for one in verdicts)
    return {"fidelity": [one.as_json() for one in verdicts]}, holds


def _made(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as bad:
        raise InvalidInput(f"{folder.name} cannot be made: {bad.strerror}.", field="record") from None
    return folder
