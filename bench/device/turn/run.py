"""`skipjoin bench turn`, as its flags say."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from dataclasses import asdict

from ....model.source.model_place import find_model
from ...cached_model import ensure_model
from ...flags import check_bounds
from ...json_file import write_json
from ...progress import Bar
from .engine import PROMPT_TOKENS, measure_engine, prepared
from .pace import measure_pace
from .timing import COLUMNS, Timing, all_hold
from .turns import TARGET_RATIO, measure_turns, queue_ratio

SHORT_QUEUE = 1_000
Part = tuple[dict[str, object], bool]


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
