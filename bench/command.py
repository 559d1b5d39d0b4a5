"""`skipjoin bench ACTION`.

Owns the table of actions, and what is true of all: an output file is looked at before the work, and
an end from outside ends what was started. Exit codes: 0 measured, and every bar that there is held;
1 a bar did not hold. A room's own `command` has its flags.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from ..console.json_flag import STANDARD, add_json_flag, json_alone
from ..console.output_file import place, write
from ..core.clock import MonotonicClock
from ..core.errors import InvalidSettings
from .demo import command as demo
from .interrupts import signals_interrupt
from .kernels import command as kernels
from .load import command as load
from .matrix import command as matrix
from .peers import command as peers
from .recovery import command as recovery
from .report import command as report
from .step import command as step
from .studies import command as studies


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `bench` and its sub-commands."""
    actions = parser.add_subparsers(title="actions", dest="action", metavar="ACTION", required=True)
    for name, (help_, flags, _) in ACTIONS.items():
        flags(actions.add_parser(name, help=help_))


def run(args: argparse.Namespace) -> int:
    """Measure what was asked. Raises SkipjoinError."""
    for flag in ("json", "plot", "markdown"):
        if (file := getattr(args, flag, None)) is not None and (file != STANDARD or flag != "json"):
            place(file, flag)
    with signals_interrupt(), json_alone(getattr(args, "json", None)):
        return ACTIONS[args.action][2](args)


def _configure_turn(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--batch", type=int, default=256, metavar="B", help="(default %(default)s)")
    parser.add_argument("--live", type=int, default=1000, metavar="N", help="live jobs (default %(default)s)")
    parser.add_argument("--queued", type=int, default=100_000, metavar="N", help="the long queue (default %(default)s)")
    parser.add_argument("--turns", type=int, default=1000, metavar="N", help="timed turns each (default %(default)s)")
    parser.add_argument(
        "--decode-batch", type=int, default=64, metavar="B", help="beside a model (default %(default)s)"
    )
    parser.add_argument("--decodes", type=int, default=200, metavar="N", help="timed iterations (default %(default)s)")
    parser.add_argument(
        "--model", metavar="MODEL", help="a folder or id of the hub that computes them (default: small, random)"
    )
    parser.add_argument(
        "--only", choices=("turn", "engine", "pace"), help="turns without a model, beside one, or whole simulated runs"
    )
    add_json_flag(parser, "the figures")


def _configure_pool(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seconds", type=float, default=5.0, metavar="S", help="per figure (default %(default)s)")
    parser.add_argument("--dir", metavar="DIR", help="where the durable pool is made (default: a temporary folder)")
    add_json_flag(parser, "the figures")


def _configure_against(parser: argparse.ArgumentParser) -> None:
    from .against import BENCHES

    parser.add_argument("checkout", metavar="CHECKOUT", help="the other code: a folder with a checkout of skipjoin")
    parser.add_argument(
        "--rounds", type=int, default=5, metavar="N", help="each measures so often (default %(default)s)"
    )
    add_json_flag(parser, "the figures")
    parser.add_argument("bench", choices=BENCHES, help="what is measured")
    parser.add_argument("flags", nargs=argparse.REMAINDER, metavar="-- FLAGS", help="of the benchmark")


def _turn(args: argparse.Namespace) -> int:
    for field, value, low, high in (
        ("batch", args.batch, 4, 4096),
        ("live", args.live, args.batch, 1_000_000),
        ("queued", args.queued, 1, 1_000_000),
        ("turns", args.turns, 20, 1_000_000),
        ("decode-batch", args.decode_batch, 1, 1024),
        ("decodes", args.decodes, 20, 2_000),
    ):
        if not low <= value <= high:
            raise InvalidSettings(f"--{field} is {value}.", field=field, limit=f"{low}..{high}")
    told: dict[str, object] = {}
    holds = True
    parts = {"turn": _turns_alone, "engine": _turns_beside_a_model, "pace": _pace}
    for part, measured_part in parts.items():
        if args.only in (None, part):
            figures, held = measured_part(args)
            told |= figures
            holds = holds and held
    _write(args.json, told)
    return 0 if holds else 1


def _turns_alone(args: argparse.Namespace) -> tuple[dict[str, object], bool]:
    from .render import print_timing, print_turn_head, print_turn_tail
    from .turn import TurnReport, measure

    print_turn_head(args.batch, args.live)
    for said in measure(args.batch, args.live, (1_000, args.queued), args.turns):
        if isinstance(said, TurnReport):
            print_turn_tail(said)
            return asdict(said), said.holds
        print_timing(said)
    raise AssertionError("a measurement ends in its report")


def _pace(args: argparse.Namespace) -> tuple[dict[str, object], bool]:
    from .pace import measure_pace
    from .render import print_pace_head, print_timing

    print_pace_head()
    timings = []
    for timing in measure_pace():
        print_timing(timing)
        timings.append(timing)
    return {"pace": {"timings": [asdict(one) for one in timings]}}, all(one.holds for one in timings)


def _turns_beside_a_model(args: argparse.Namespace) -> tuple[dict[str, object], bool]:
    from ..model.source.model_place import find_model
    from .cached_model import ensure_model
    from .engine_work import PROMPT_TOKENS, WorkReport, measure_work, prepared
    from .progress import Bar
    from .render import print_timing, print_work_head

    with Bar() as bar:
        folder = ensure_model("small", bar) if args.model is None else find_model(args.model).folder
    model = prepared(folder)
    print_work_head(folder.name, args.decode_batch, PROMPT_TOKENS)
    for said in measure_work(model, folder.name, args.decode_batch, args.decodes):
        if isinstance(said, WorkReport):
            return {"engine": asdict(said)}, said.holds
        print_timing(said)
    raise AssertionError("a measurement ends in its report")


def _pool(args: argparse.Namespace) -> int:
    from .pool import measure_pool, settings_in
    from .render import print_pools

    if not 0.1 <= args.seconds <= 3600:
        raise InvalidSettings(f"--seconds is {args.seconds:g}.", field="seconds", limit="0.1..3600")
    home = None if args.dir is None else Path(args.dir)
    if home is not None and not home.is_dir():
        raise InvalidSettings(f"{args.dir} is no folder.", field="dir")
    with tempfile.TemporaryDirectory(prefix="skipjoin-bench-", dir=home) as folder:
        figures = [
            asyncio.run(measure_pool(setting, MonotonicClock(), args.seconds)) for setting in settings_in(Path(folder))
        ]
    print_pools(figures)
    _write(args.json, {"pools": [asdict(one) | {"tokens_per_s": one.tokens_per_s} for one in figures]})
    return 0


def _against(args: argparse.Namespace) -> int:
    from .against import as_quick, by_turns, whole_of
    from .progress import Bar
    from .render import print_against

    if not 1 <= args.rounds <= 1000:
        raise InvalidSettings(f"--rounds is {args.rounds}.", field="rounds", limit="1..1000")
    with Bar() as bar:
        found = by_turns(
            Path(args.checkout), [args.bench, *(word for word in args.flags if word != "--")], args.rounds, bar.note
        )
    print_against(found)
    _write(args.json, {"against": {one.name: list(one.ratios) for one in found}, "all": whole_of(found)})
    return 0 if as_quick(found) else 1


def _write(file: str | None, value: dict[str, object]) -> None:
    if file is not None:
        write(file, json.dumps(value, indent=2) + "\n", "json")


Action = tuple[str, Callable[[argparse.ArgumentParser], None], Callable[[argparse.Namespace], int]]
ACTIONS: dict[str, Action] = {
    "run": ("open-loop load against a server; latency from the scheduled time", load.configure, load.run),
    "turn": ("the engine's own time per iteration, alone and beside a model", _configure_turn, _turn),
    "kernels": ("each kernel beside its reference, torch's and the rooflines", kernels.configure, kernels.run),
    "step": ("whole iterations of the executor beside the device's rooflines", step.configure, step.run),
    "pool": ("submits and token-log commits a second of the job pools", _configure_pool, _pool),
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
    "matrix": ("policies x traces x loads x batches in the simulator", matrix.configure, matrix.run),
    "report": ("a matrix's results as a page with charts", report.configure, report.run),
    "peers": (
        "install other engines, each by itself, to be measured beside ours",
        peers.configure_peers,
        peers.run_peers,
    ),
    "against": ("turn, engine or pool of this code beside those of another checkout", _configure_against, _against),
    "recovery": ("starts, and how soon tokens come after the engine is killed", recovery.configure, recovery.run),
    "engine": (
        "tokens a second without a server, beside the peers' engines",
        peers.configure_engine,
        peers.run_engine,
    ),
    "live": ("a peer's server and ours behind HTTP, with the same requests", peers.configure_live, peers.run_live),
}
"""Name -> help, what adds its flags, what runs it."""
