"""`skipjoin simulate`: a trace or a shape through the scheduler in virtual time, one row of numbers a policy.

Owns the command's flags, the order of its steps and the JSON it writes. It knows no policy and no plan; `study` runs
the policies, `table` renders them. The table goes to standard output, notes and progress to standard error.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

from ..core.errors import InvalidInput, InvalidSettings


def configure(parser: argparse.ArgumentParser) -> None:
    """The flags of `simulate`."""
    parser.add_argument(
        "--trace",
        metavar="CSV|shape:NAME",
        help="a trace file, shape:NAME, or a trace of the folder that SKIPJOIN_BENCH_DATA names",
    )
    parser.add_argument("--policy", default="fcfs,skipjoin", metavar="A,B,C", help="policies (default %(default)s)")
    parser.add_argument(
        "--profile", default="opt-13b-a100", metavar="NAME|FILE", help="cost profile (default %(default)s)"
    )
    rate = parser.add_mutually_exclusive_group()
    rate.add_argument("--load", type=float, metavar="R", help="arrival rate over drain rate; shapes default to 0.9")
    rate.add_argument("--rate", type=float, metavar="R", help="requests a second")
    parser.add_argument("--poisson", action="store_true", help="draw fresh arrivals instead of the recorded ones")
    parser.add_argument(
        "--requests", type=int, metavar="N", help="counted requests (default: the whole trace, 1000 of a shape)"
    )
    parser.add_argument(
        "--warmup", type=int, metavar="N", help="requests before them, served and not counted (default 200)"
    )
    parser.add_argument("--max-batch", type=int, default=64, metavar="B", help="jobs in a batch (default %(default)s)")
    parser.add_argument("--kv-tokens", type=int, metavar="K", help="device room for KV (default: the profile's)")
    parser.add_argument(
        "--host-kv-tokens",
        type=int,
        metavar="H",
        help="host room for KV (default: the profile's; if it has none, as much as all jobs need)",
    )
    parser.add_argument(
        "--starvation", default="granted", metavar="off|granted|paper", help="promotion rule (default %(default)s)"
    )
    parser.add_argument(
        "--seed", type=int, default=0, metavar="S", help="of lengths and arrivals (default %(default)s)"
    )
    parser.add_argument("--json", metavar="FILE", help="write the results there (- is standard output)")


def run(args: argparse.Namespace) -> int:
    """Simulate as the flags say. Raises SkipjoinError."""
    if args.trace is None:
        raise InvalidSettings("--trace is missing: give a file or shape:NAME.", field="trace")
    from .progress import Bar
    from .study import Question, answer
    from .table import render

    question = Question(
        trace=args.trace,
        data_folder=os.environ.get("SKIPJOIN_BENCH_DATA"),
        policies=tuple(name.strip() for name in args.policy.split(",") if name.strip()),
        profile=args.profile,
        load=args.load,
        rate=args.rate,
        poisson=args.poisson,
        requests=args.requests,
        warmup=args.warmup,
        max_batch=args.max_batch,
        kv_tokens=args.kv_tokens,
        host_kv_tokens=args.host_kv_tokens,
        starvation=args.starvation,
        seed=args.seed,
    )
    with Bar() as bar:
        study = answer(question, bar)
    text = json.dumps(study.as_json(), indent=2) + "\n"
    if args.json == "-":
        print(text, end="")
        return 0
    print(render(study), end="")
    if args.json is not None:
        _write(Path(args.json), text)
    return 0


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as bad:
        raise InvalidInput(f"{path.name} cannot be written: {bad.strerror or 'output error'}.", field="json") from None
