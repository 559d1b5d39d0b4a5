"""`skipjoin simulate`: a trace or a shape through the scheduler in virtual time, one row of numbers
a policy; or a record of `serve`, run again.

Owns the command's flags, the order of its steps, the JSON it writes and the exit code: 0 done; for
`--replay` 1 when a turn had other effects than the record says. It knows no policy and no plan;
`study` runs the policies, `table` renders them, `engine/record` replays. What was asked for goes to
standard output, notes and progress to standard error. `cli.py` calls it.
"""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from ..console.json_flag import STANDARD, add_json_flag
from ..console.output_file import place, write
from ..core.errors import InvalidInput, InvalidSettings, InvariantViolation

DEFAULTS: dict[str, Any] = {
    "policies": ("fcfs", "skipjoin", "adaptive"),
    "profile": "opt-13b-a100",
    "max_batch": 64,
    "starvation": "granted",
    "seed": 0,
}
"""Of the flags of a workload, which stay out of the namespace where nobody gave them: `--replay`
takes none of them.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """The flags of `simulate`."""
    _configure_workload(parser.add_argument_group("a workload", argument_default=argparse.SUPPRESS))
    replayed = parser.add_argument_group("or a record", "exit code 1 when a turn has other effects than recorded")
    replayed.add_argument("--replay", metavar="FILE", help="run again what `serve --record FILE` wrote, and compare")
    add_json_flag(parser, "the results")


def _configure_workload(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--trace",
        metavar="CSV|shape:NAME",
        help="a trace file, shape:NAME, or a trace of the folder that SKIPJOIN_BENCH_DATA names",
    )
    group.add_argument(
        "--policy",
        dest="policies",
        type=_names,
        metavar="A,B,C",
        help=f"policies, adaptive:0.5 for a dial set (default {','.join(DEFAULTS['policies'])})",
    )
    group.add_argument("--profile", metavar="NAME|FILE", help=f"cost profile (default {DEFAULTS['profile']})")
    rate = group.add_mutually_exclusive_group()
    rate.add_argument("--load", type=float, metavar="R", help="arrival rate over drain rate; shapes default to 0.9")
    rate.add_argument("--rate", type=float, metavar="R", help="requests a second")
    group.add_argument("--poisson", action="store_true", help="draw fresh arrivals instead of the recorded ones")
    group.add_argument(
        "--requests", type=int, metavar="N", help="counted requests (default: the whole trace, 1000 of a shape)"
    )
    group.add_argument(
        "--warmup", type=int, metavar="N", help="requests before them, served and not counted (default 200)"
    )
    group.add_argument(
        "--bounds",
        action="store_true",
        help="the mean JCT that no schedule beats, and the oracle's, beside the policies",
    )
    _configure_machine(group)
    group.add_argument("--seed", type=int, metavar="S", help=f"of lengths and arrivals (default {DEFAULTS['seed']})")


def _configure_machine(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--max-batch", type=int, metavar="B", help=f"jobs in a batch (default {DEFAULTS['max_batch']})")
    group.add_argument("--kv-tokens", type=int, metavar="K", help="device room for KV (default: the profile's)")
    group.add_argument(
        "--host-kv-tokens",
        type=int,
        metavar="H",
        help="host room for KV (default: the profile's; if it has none, as much as all jobs need)",
    )
    group.add_argument(
        "--starvation", metavar="off|granted|paper", help=f"promotion rule (default {DEFAULTS['starvation']})"
    )
    group.add_argument(
        "--kv-mode",
        choices=("proactive", "reactive", "recompute"),
        help="how victims leave the device (default proactive)",
    )
    group.add_argument(
        "--tail",
        type=float,
        metavar="T",
        help="dial of adaptive where its name does not set it: 0 lowest mean, 1 safest tail",
    )
    group.add_argument(
        "--validate", action="store_true", help="check after every turn that the engine's books agree; slow"
    )


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def run(args: argparse.Namespace) -> int:
    """Simulate or replay as the flags say. Raises SkipjoinError."""
    from .study import Question

    names = {field.name for field in fields(Question)}
    given: dict[str, Any] = {name: value for name, value in vars(args).items() if name in names}
    if args.json not in (None, STANDARD):
        place(args.json, "json")
    if args.replay is not None:
        return _replay(args.replay, given, args.json)
    if "trace" not in given:
        raise InvalidSettings("--trace is missing: give a file or shape:NAME.", field="trace")
    from .progress import Bar
    from .study import answer
    from .table import render

    question = Question(**DEFAULTS | given, data_folder=os.environ.get("SKIPJOIN_BENCH_DATA"))
    with Bar() as bar:
        study = answer(question, bar)
    _tell(render(study), study.as_json(), args.json)
    return 0


def _replay(file: str, given: dict[str, Any], out: str | None) -> int:
    if given:
        flags = ", ".join("--policy" if name == "policies" else f"--{name.replace('_', '-')}" for name in given)
        raise InvalidSettings(f"A record has its workload in it: leave out {flags} beside --replay.", field="replay")
    from rich.console import Console

    from ..engine.record import replay

    path = Path(file)
    try:
        path.open("rb").close()
    except OSError as bad:
        raise InvalidInput(f"{path.name} cannot be read: {bad.strerror}.", field="replay") from None
    try:
        with Console(stderr=True).status(f"replaying {path.name}"):
            report = replay(path)
    except (ArithmeticError, AssertionError, InvalidSettings, InvariantViolation, LookupError, TypeError, ValueError):
        # Every line is one of a record; together they lead the engine where no run of its own
        # would.
        raise InvalidInput(
            f"{path.name} cannot have happened: it was changed, or another version wrote it.", field="replay"
        ) from None
    _tell(f"{report}\n", asdict(report), out)
    return 0 if report.first_difference is None else 1


def _tell(text: str, value: dict[str, object], file: str | None) -> None:
    """`text` for the person and `value` into `file`; `-` puts the value in place of the text."""
    written = json.dumps(value, indent=2) + "\n"
    print(written if file == STANDARD else text, end="")
    if file not in (None, STANDARD):
        write(file, written, "json")
