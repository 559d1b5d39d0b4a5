"""`skipjoin bench turn`, as its flags say; and how fast virtual time passes and how soon the command
answers, by processor time, in units.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import asdict

from ....console.json_flag import add_json_flag
from ....core.clock import thread_cpu_ns
from ....core.executor import ExecutorFacts
from ....cost.profiles import load_profile
from ....engine.params import EngineParams
from ....model.source.model_place import find_model
from ....sim.drain import drain_rate
from ....sim.world import Machine, simulate
from ....workload.requests import Workload, make_workload
from ....workload.shape import load_shape
from ...cached_model import ensure_model
from ...flags import Flags, check_bounds
from ...json_file import write_json
from ...load.process import own_command, own_environment
from ...progress import Bar
from ...yardstick import Yardstick
from .engine import PROMPT_TOKENS, measure_engine, prepared
from .turns import COLUMNS, TARGET_RATIO, Timing, all_hold, measure_turns, queue_ratio, timing_of

TARGETS = {"fcfs": 5.0, "skipjoin": 5.0, "adaptive": 10.0}
"""Units for a simulated second: where a unit is a millisecond, 5 are 200 times as fast as it
passes.
"""
HELP_TARGET = 500.0
RUNS = 3
_PAGE_TOKENS = 16


def measure_pace(requests: int = 600) -> Iterator[Timing]:
    """A line for each policy on the shape of chats, then one for the command."""
    machine, workload = _chats(requests)
    for policy, target in TARGETS.items():
        yardstick, samples_ns = Yardstick(), list[int]()
        for _ in range(RUNS):
            for _ in range(RUNS):
                yardstick.measure()
            begun_ns = thread_cpu_ns()
            run = simulate(machine, policy, workload)
            samples_ns.append(round((thread_cpu_ns() - begun_ns) / (run.virtual_ns / 1e9)))
            yardstick.measure()
        yield timing_of(f"simulated second, {policy}", samples_ns, yardstick.unit_ms, target)
    yield _help()


def _chats(requests: int) -> tuple[Machine, Workload]:
    profile = load_profile("opt-13b-a100")
    pages = profile.kv_tokens // _PAGE_TOKENS
    facts = ExecutorFacts(1, pages, 32 * pages, _PAGE_TOKENS, _PAGE_TOKENS * profile.token_bytes, None, 1)
    machine = Machine(profile.model, facts, EngineParams(max_batch=64))
    shape, room = load_shape("azure-conv"), pages * _PAGE_TOKENS
    workload = make_workload(shape, requests=requests, warmup=requests // 5, seed=0, poisson=False, room_tokens=room)
    return machine, workload.at_rate(0.9 * drain_rate(machine, workload))


def _help() -> Timing:
    yardstick, samples_ns = Yardstick(), list[int]()
    for _ in range(RUNS):
        yardstick.measure()
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(own_command("--help"), env=own_environment(), capture_output=True, timeout=60, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        samples_ns.append(round((after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) * 1e9))
    return timing_of("skipjoin --help", samples_ns, yardstick.unit_ms, HELP_TARGET)


SHORT_QUEUE = 1_000
Part = tuple[dict[str, object], bool]


def configure(parser: argparse.ArgumentParser) -> None:
    """The flags of `bench turn`."""
    flags = Flags(parser)
    flags.value("batch", "B", "", 256)
    flags.value("live", "N", "live jobs", 1000)
    flags.value("queued", "N", "the long queue", 100_000)
    flags.value("turns", "N", "timed turns each", 1000)
    flags.value("decode-batch", "B", "beside a model", 64)
    flags.value("decodes", "N", "timed iterations", 200)
    flags.value("model", "MODEL", "a folder or id of the hub that computes them (default: small, random)")
    flags.choice("only", ("turn", "engine", "pace"), "turns without a model, beside one, or whole simulated runs")
    add_json_flag(parser, "the figures")


def run(args: argparse.Namespace) -> int:
    """Measure; 1 when a bar did not hold. Raises InvalidSettings, InvalidModel, InvalidInput."""
    check_bounds(
        args,
        batch=(4, 4096),
        live=(args.batch, 1_000_000),
        queued=(1, 1_000_000),
        turns=(20, 1_000_000),
        decode_batch=(1, 1024),
        decodes=(20, 2_000),
    )
    told: dict[str, object] = {}
    holds = True
    for part, measured in {"turn": _turns, "engine": _engine, "pace": _pace}.items():
        if args.only in (None, part):
            figures, held = measured(args)
            told |= figures
            holds = holds and held
    write_json(args.json, told)
    return 0 if holds else 1


def _turns(args: argparse.Namespace) -> Part:
    queues = (SHORT_QUEUE, args.queued)
    head = f"Steps 3-5 and 7 of a turn, CPU time of the thread, batch {args.batch}, {args.live:,} live jobs"
    timings = print_timings(head, measure_turns(args.batch, args.live, queues, args.turns))
    ratio = queue_ratio(timings)
    print(ratio_line(ratio, queues))
    figures = {"batch": args.batch, "live_jobs": args.live, "timings": [asdict(one) for one in timings]}
    more = {"queue_ratio": ratio, "queue_jobs": queues, "target_ratio": TARGET_RATIO}
    return figures | more, ratio <= TARGET_RATIO and all_hold(timings)


def _engine(args: argparse.Namespace) -> Part:
    with Bar() as bar:
        folder = ensure_model("small", bar) if args.model is None else find_model(args.model).folder
    model, batch = prepared(folder), args.decode_batch
    head = f"An engine's thread beside the forward pass, CPU time, {folder.name}, batch {batch}, "
    timings = print_timings(f"{head}prompts of about {PROMPT_TOKENS}", measure_engine(model, batch, args.decodes))
    told = {"model": folder.name, "batch": batch, "prompt_tokens": PROMPT_TOKENS}
    return {"engine": told | {"timings": [asdict(one) for one in timings]}}, all_hold(timings)


def _pace(args: argparse.Namespace) -> Part:
    head = "Processor time of a simulated second (chats, opt-13b-a100, load 0.9, batch 64) and of a call"
    timings = print_timings(head, measure_pace())
    return {"pace": {"timings": [asdict(one) for one in timings]}}, all_hold(timings)


def print_timings(head: str, timings: Iterable[Timing]) -> list[Timing]:
    """A line for each as soon as it is measured; all of them."""
    print(f"{head}\n{COLUMNS.head}", flush=True)
    shown = []
    for timing in timings:
        print(timing, flush=True)
        shown.append(timing)
    return shown


def ratio_line(ratio: float, queues: tuple[int, int]) -> str:
    """The time with the long queue over that with the short one, and its verdict."""
    verdict = "ok" if ratio <= TARGET_RATIO else "ABOVE"
    words = f"{queues[1]:,} / {queues[0]:,} queued, equal change"
    return f"{words}: {ratio:.3f} (target <= {TARGET_RATIO:g}) {verdict}"
