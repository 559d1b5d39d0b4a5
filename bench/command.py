"""`skipjoin bench run|turn|kernels|step|pool|fidelity|published|demo|matrix|report|against|recovery|peers|engine|live`.

Owns the flags, the JSON files and the exit codes: 0 measured, and every bar that there is held; 1 a bar did not hold. It measures nothing itself.
`cli.py` calls it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from ..core.clock import MonotonicClock
from ..core.errors import InvalidInput, InvalidSettings
from ..core.json_output import STANDARD, add_json_flag, json_alone
from ..core.places import place, write
from .interrupts import signals_interrupt
from .kernels import command as kernels
from .matrix import command as matrix
from .measured import command as measured
from .offline import command as offline
from .peer_live import command as peer_live
from .peers import command as peers
from .published import command as published
from .recovery import command as recovery
from .report import command as report
from .step import command as step


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `bench` and its sub-commands."""
    actions = parser.add_subparsers(title="actions", dest="action", metavar="ACTION", required=True)
    _configure_run(actions.add_parser("run", help="open-loop load against a server; latency from the scheduled time"))
    _configure_turn(actions.add_parser("turn", help="the engine's own time per iteration, alone and beside a model"))
    kernels.configure(actions.add_parser("kernels", help="each kernel beside its reference, torch's and the rooflines"))
    step.configure(actions.add_parser("step", help="whole iterations of the executor beside the device's rooflines"))
    _configure_pool(actions.add_parser("pool", help="submits and token-log commits a second of the job pools"))
    measured.configure(actions.add_parser("fidelity", help="measured runs of another server beside their replays"))
    published.configure(
        actions.add_parser("published", help="FastServe's published points on OPT-13B beside simulated ones")
    )
    _configure_demo(actions.add_parser("demo", help="a small model, a server, the same jobs under each policy"))
    matrix.configure(actions.add_parser("matrix", help="policies x traces x loads x batches in the simulator"))
    report.configure(actions.add_parser("report", help="a matrix's results as a page with charts"))
    peers.configure(
        actions.add_parser("peers", help="install other engines, each by itself, to be measured beside ours")
    )
    _configure_against(
        actions.add_parser("against", help="turn, engine or pool of this code beside those of another checkout")
    )
    recovery.configure(
        actions.add_parser("recovery", help="starts, and how soon tokens come after the engine is killed")
    )
    offline.configure(actions.add_parser("engine", help="tokens a second without a server, beside the peers' engines"))
    peer_live.configure(actions.add_parser("live", help="a peer's server and ours behind HTTP, with the same requests"))


def _configure_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--target", choices=("skipjoin", "openai"), default="skipjoin", help="(default %(default)s)")
    parser.add_argument(
        "--url", required=True, metavar="URL", help="HOST:PORT of gRPC for skipjoin, http://HOST:PORT for openai"
    )
    parser.add_argument("--trace", required=True, metavar="CSV|shape:NAME", help="as in simulate")
    rate = parser.add_mutually_exclusive_group()
    rate.add_argument("--load", type=float, metavar="R", help="arrival rate over drain rate")
    rate.add_argument("--rate", type=float, metavar="R", help="requests a second")
    parser.add_argument(
        "--drain-rate", type=float, metavar="R", help="for --load: requests a second; left out, it is measured first"
    )
    parser.add_argument("--poisson", action="store_true", help="draw fresh arrivals instead of the recorded ones")
    parser.add_argument(
        "--requests", type=int, metavar="N", help="counted requests (default: the trace, 1000 of a shape)"
    )
    parser.add_argument(
        "--warmup", type=int, default=0, metavar="N", help="requests before them, sent and not counted (default 0)"
    )
    parser.add_argument(
        "--scale-lengths", type=float, default=1.0, metavar="F", help="multiply prompt and output lengths"
    )
    parser.add_argument("--max-tokens", type=int, metavar="K", help="leave out requests with more tokens than this")
    parser.add_argument(
        "--vocab-size", type=int, default=256, metavar="N", help="token ids are drawn below this (default %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="of lengths, arrivals and token ids")
    parser.add_argument("--profile", metavar="NAME|FILE", help="cost profile, for max_slowdown")
    parser.add_argument(
        "--metrics-url", metavar="URL", help="the skipjoin server's /metrics, for policy and bytes moved"
    )
    parser.add_argument("--model", metavar="NAME", help="for openai (default: the server's first)")
    parser.add_argument("--token-file", metavar="FILE", help="bearer token (or the environment's SKIPJOIN_TOKEN)")
    parser.add_argument("--tls", action="store_true", help="for skipjoin: TLS with the system's roots")
    parser.add_argument("--tls-ca", metavar="FILE", help="for skipjoin: TLS with these roots (PEM)")
    add_json_flag(parser, "the figures")


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


def _configure_demo(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--policies", default="fcfs,skipjoin,adaptive", metavar="A,B,C", help="(default %(default)s)")
    parser.add_argument(
        "--scenario", metavar="FILE", action="append", help="instead of those that ship; may be repeated"
    )
    parser.add_argument(
        "--fidelity", type=int, metavar="N", help="instead: each scenario N times, policies in turn; medians and spread"
    )
    parser.add_argument("--record", metavar="DIR", help="keep the engine's record of each run there")
    parser.add_argument(
        "--check", action="store_true", help="judge by the bars also where the machine was busy meanwhile"
    )
    add_json_flag(parser, "the figures")


def run(args: argparse.Namespace) -> int:
    """Measure what was asked. Raises SkipjoinError."""
    actions: dict[str, Callable[[argparse.Namespace], int]] = {
        "run": _run,
        "turn": _turn,
        "kernels": kernels.run,
        "step": step.run,
        "pool": _pool,
        "fidelity": measured.run,
        "published": published.run,
        "demo": _demo,
        "against": _against,
        "matrix": matrix.run,
        "report": report.run,
        "recovery": recovery.run,
        "peers": peers.run,
        "engine": offline.run,
        "live": peer_live.run,
    }
    for flag in ("json", "plot", "markdown"):
        if (file := getattr(args, flag, None)) is not None and (file != STANDARD or flag != "json"):
            place(file, flag)
    with signals_interrupt(), json_alone(getattr(args, "json", None)):
        return actions[args.action](args)


def _run(args: argparse.Namespace) -> int:
    from ..profiler.profiles import load_profile
    from .dial import Address, dialled
    from .live import LiveQuestion, LiveStudy, answer
    from .progress import Bar
    from .render import print_live

    question = LiveQuestion(
        trace=args.trace,
        data_folder=os.environ.get("SKIPJOIN_BENCH_DATA"),
        load=args.load,
        rate=args.rate,
        drain_rate=args.drain_rate,
        poisson=args.poisson,
        requests=args.requests,
        warmup=args.warmup,
        scale_lengths=args.scale_lengths,
        max_tokens=args.max_tokens,
        vocab_size=args.vocab_size,
        seed=args.seed,
        profile=None if args.profile is None else load_profile(args.profile),
    )
    question.check()
    address = Address(
        args.target, args.url, args.model, args.metrics_url, args.token_file, tls_ca=args.tls_ca, tls=args.tls
    )

    async def measure(bar: Bar) -> LiveStudy:
        clock = MonotonicClock()
        async with dialled(address, clock) as target:
            return await answer(question, args.target, target, clock, bar)

    with Bar() as bar:
        study = asyncio.run(measure(bar))
    print_live(study)
    _write(args.json, study.as_json())
    return 0


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
    from ..executor.model_place import find_model
    from .demo import ensure_model
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


def _demo(args: argparse.Namespace) -> int:
    from .showing import Wish, perform

    if args.fidelity is not None and not 1 <= args.fidelity <= 1000:
        raise InvalidSettings(f"--fidelity is {args.fidelity}.", field="fidelity", limit="1..1000")
    record = None if args.record is None else Path(args.record)
    if record is not None:
        _make(record)
    policies = tuple(name.strip() for name in args.policies.split(",") if name.strip())
    value, holds = perform(
        Wish(tuple(Path(file) for file in args.scenario or ()), policies, args.fidelity, record, args.check)
    )
    _write(args.json, value)
    return 0 if holds else 1


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as bad:
        raise InvalidInput(f"{folder.name} cannot be made: {bad.strerror}.", field="record") from None


def _write(file: str | None, value: dict[str, object]) -> None:
    if file is not None:
        write(file, json.dumps(value, indent=2) + "\n", "json")
