"""`skipjoin bench scaling`: how long a decode step takes on one rank and on several, and where its
time goes: computing, collectives, and sending plans.

Owns the steps that are timed and what is made of them. Each number of ranks gets an executor as a
server starts it, with processes of its own; rounds take turns, so that a slow minute meets all. It
changes nothing in an executor: the group of ranks says itself how long it waited.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import numpy as np

from ...console.json_flag import add_json_flag
from ...console.output_file import write
from ...core.asked import Asked
from ...core.clock import Clock, MonotonicClock, thread_cpu_ns
from ...core.errors import InvalidSettings
from ...core.executor import Executor, ExecutorFacts
from ...core.ids import Handle
from ...core.plan import Admit, BlockTable, DecodeBatch, IterationPlan
from ...core.sampling import SamplingParams
from ...executor.ranks.channel import Channel, channel_pair
from ...executor.ranks.group import RankGroup
from ...executor.ranks.leading import LeadingExecutor
from ...model.source.model_place import find_model
from ...proto import ranks_pb2 as pb
from ...proto.plans import PlanReader, PlanWriter
from ...serving.settings import ServeSettings, load_settings
from ...serving.worker.other_ranks import OtherRanks
from ...serving.worker.pulse import Pulse
from ...serving.worker.rank_part import Place, load_part
from ..cached_model import ensure_model
from ..charts.bars import Bar as ChartBar
from ..charts.bars import BarChart, bar_sheet
from ..figures import Spread, held
from ..flags import Flags, check_bounds, words_of
from ..json_file import json_lines
from ..progress import Bar
from ..table import grid, ranged, verdict

NS_A_MS = 1e6
NS_A_US = 1e3
DELIVERY_TARGET_US = 150.0
WEIGHTS_TARGET = 0.55
"""Of two ranks: bytes of one's weights over those of one rank alone."""
WARM_UP = 3


def configure(parser: argparse.ArgumentParser) -> None:
    """The flags of `bench scaling`."""
    flags = Flags(parser)
    flags.value("ranks", "N,...", "numbers of ranks that share the model", "1,2")
    flags.value("batch", "B", "jobs that decode", 16)
    flags.value("context", "N", "tokens of each job", 256)
    flags.value("steps", "N", "timed steps a round", 20)
    flags.value("repeats", "N", "rounds", 5)
    flags.value("device", "DEVICE", "auto, cpu, cuda", "auto")
    flags.value("dtype", "DTYPE", "float32, float16, bfloat16, auto", "auto")
    flags.value("model", "MODEL", "a folder or id of the hub (default: small, random)")
    add_json_flag(parser, "the figures, a line each,")
    flags.value("plot", "FILE", "write a picture there (SVG)")


@dataclass(frozen=True, slots=True)
class ScalingRow:
    """Of one number of ranks; times are of a step, in milliseconds, as rank 0 sees them.

    `collectives_ms` counts waiting for the others. On a GPU the host only enqueues: there only
    `step_ms` is the device's. `weights` is rank 0's bytes over those of one rank alone.
    """

    ranks: int
    step_ms: Spread
    compute_ms: float
    collectives_ms: float
    control_ms: float
    weight_bytes: int
    weights: float | None

    @property
    def weights_hold(self) -> bool | None:
        """Whether a rank of two has little more than half."""
        return held(self.weights, WEIGHTS_TARGET if self.ranks == 2 else None, at_most=True)


def run(args: argparse.Namespace) -> int:
    """Measure; 1 when a bar did not hold. Raises SkipjoinError."""
    check_bounds(args, batch=(1, 1024), context=(1, 1 << 20), steps=(1, 10_000), repeats=(3, 1000))
    numbers = _numbers(args.ranks)
    with Bar() as bar:
        folder = ensure_model("small", bar) if args.model is None else find_model(args.model).folder
    delivery_us = measure_delivery(args.batch)
    with json_lines(args.json) as add:
        rows = measure(folder, numbers, args)
        for row in rows:
            add(asdict(row) | {"row": "step"})
        add({"row": "delivery", "batch": args.batch, "median_us": delivery_us, "target_us": DELIVERY_TARGET_US})
    print(_table(rows))
    holds = delivery_us <= DELIVERY_TARGET_US
    print(
        f"{verdict(holds)}a plan of {args.batch} jobs with others than before, written, sent and read: "
        f"{delivery_us:.0f} us of processor time (target <= {DELIVERY_TARGET_US:g})"
    )
    for row in rows:
        if row.weights is not None and row.ranks > 1:
            print(f"{verdict(row.weights_hold)}weights of a rank of {row.ranks}: {row.weights:.3f} of one rank's")
    if args.plot is not None:
        write(args.plot, _picture(rows, folder.name, args.batch), "plot")
    return 0 if holds and all(row.weights_hold is not False for row in rows) else 1


def measure(folder: Path, numbers: tuple[int, ...], args: argparse.Namespace) -> list[ScalingRow]:
    """A row for each number of ranks; their rounds take turns. Raises SkipjoinError."""
    clock = MonotonicClock()
    with ExitStack() as held_open, Bar() as bar:
        decks = [
            held_open.enter_context(_deck(_settings(folder, ranks, args), args.batch, args.context, rounds_room(args)))
            for ranks in numbers
        ]
        with bar.steps("rounds", args.repeats * len(decks)) as done:
            for deck in decks:
                deck.begin(clock)
            for _ in range(args.repeats):
                for deck in decks:
                    deck.round(args.steps, clock)
                    done(1)
    alone = next((deck.weight_bytes for deck in decks if deck.ranks == 1), None)
    return [deck.row(alone) for deck in decks]


def rounds_room(args: argparse.Namespace) -> int:
    """Steps that every job must have room for."""
    return int(args.repeats * args.steps + WARM_UP + 1)


class Deck:
    """Jobs that decode together on one executor, step after step."""

    def __init__(
        self, ranks: int, executor: Executor, facts: ExecutorFacts, group: RankGroup | None, weight_bytes: int
    ) -> None:
        self.ranks = ranks
        self.weight_bytes = weight_bytes
        self._executor = executor
        self._facts = facts
        self._group = group
        self._batch = DecodeBatch()
        self._seq = 0
        self._steps_ns: list[float] = []
        self._collectives_ns: list[float] = []
        self._control_ns: list[float] = []

    def fill(self, batch: int, context: int, steps: int) -> IterationPlan:
        """The first step of jobs whose contexts are there."""
        each = -(-(context + steps) // self._facts.page_tokens)
        tokens = np.random.default_rng(0).integers(0, self._facts.vocab_size, (batch, context)).astype(np.int32)
        pages = np.arange(batch * each, dtype=np.int32).reshape(batch, each)
        handles = [Handle(number + 1) for number in range(batch)]
        asked = Asked(SamplingParams(temperature=0.0))
        self._batch = DecodeBatch(np.array(handles, dtype=np.int64))
        return IterationPlan(
            0,
            self._facts.generation,
            decode=self._batch,
            admits=tuple(Admit(h, t, context, context, asked, 0) for h, t in zip(handles, tokens, strict=True)),
            tables=tuple(BlockTable(h, p) for h, p in zip(handles, pages, strict=True)),
        )

    def begin(self, clock: Clock) -> None:
        """Steps that are not counted."""
        self.round(WARM_UP, clock)
        for samples in (self._steps_ns, self._collectives_ns, self._control_ns):
            samples.clear()

    def first(self, plan: IterationPlan) -> None:
        """Carry out the first step."""
        self._executor.submit(plan)
        self._executor.poll(None)

    def round(self, steps: int, clock: Clock) -> None:
        """So many steps, one behind the other."""
        waited = 0 if self._group is None else self._group.waited_ns
        sent = self._sent_ns
        begun_ns = clock.now_ns()
        for _ in range(steps):
            self._seq += 1
            self._executor.submit(IterationPlan(self._seq, self._facts.generation, decode=self._batch))
            self._executor.poll(None)
        self._steps_ns.append((clock.now_ns() - begun_ns) / steps)
        self._collectives_ns.append((0 if self._group is None else self._group.waited_ns - waited) / steps)
        self._control_ns.append((self._sent_ns - sent) / steps)

    @property
    def _sent_ns(self) -> int:
        return self._executor.sent_ns if isinstance(self._executor, LeadingExecutor) else 0

    def row(self, alone: int | None) -> ScalingRow:
        """What came of all rounds."""
        step, collectives, control = (
            median(samples) / NS_A_MS for samples in (self._steps_ns, self._collectives_ns, self._control_ns)
        )
        return ScalingRow(
            ranks=self.ranks,
            step_ms=Spread.of([sample / NS_A_MS for sample in self._steps_ns]),
            compute_ms=max(0.0, step - collectives - control),
            collectives_ms=collectives,
            control_ms=control,
            weight_bytes=self.weight_bytes,
            weights=None if alone is None else self.weight_bytes / alone,
        )


def measure_delivery(batch: int, plans: int = 400) -> float:
    """Median microseconds of processor time for a plan with other members than the one before:
    written and sent, received and read.
    """
    here, there = channel_pair()
    writer, reader, other = PlanWriter(), PlanReader(), Channel(there)
    samples = []
    for seq in range(plans):
        handles = np.arange(seq, seq + batch, dtype=np.int64)
        begun_ns = thread_cpu_ns()
        here.send(pb.LeaderFrame(plan=writer.write(IterationPlan(seq, 1, DecodeBatch(handles)))).SerializeToString())
        received = other.receive(None)
        assert received is not None, "it waits for ever"
        reader.read(pb.LeaderFrame.FromString(received).plan)
        samples.append(thread_cpu_ns() - begun_ns)
    here.close()
    other.close()
    return median(samples) / NS_A_US


def _numbers(text: str) -> tuple[int, ...]:
    words = words_of(text)
    if not words or not all(word.isdigit() and 1 <= int(word) <= 8 for word in words):
        raise InvalidSettings(f"--ranks is {text[:40]}.", field="ranks", limit="numbers from 1 to 8, with commas")
    return tuple(dict.fromkeys(int(word) for word in words))


def _settings(folder: Path, ranks: int, args: argparse.Namespace) -> ServeSettings:
    pages = -(-(args.context + rounds_room(args)) // 16) * args.batch
    return load_settings(
        {
            "model": str(folder),
            "device": args.device,
            "dtype": args.dtype,
            "tensor_parallel": ranks,
            "kv_tokens": 16 * pages,
            "host_kv_tokens": 16,
            "max_batch": args.batch,
        }
    )


@contextmanager
def _deck(settings: ServeSettings, batch: int, context: int, steps: int) -> Iterator[Deck]:
    clock, ranks = MonotonicClock(), settings.tensor_parallel
    pulse = Pulse(None, 1, clock)
    others = OtherRanks(settings, ranks, 1, pulse) if ranks > 1 else None
    try:
        part = load_part(settings, Place() if others is None else others.place, pulse)
        shape = part.room if others is None else others.agree(part, pulse)
        own = part.executor(settings, shape, 1, clock, pulse.beat)
        executor: Executor = own if others is None else LeadingExecutor(own, others.channels, others.close)
        facts = executor.start()
        if others is not None:
            others.started(pulse)
        deck = Deck(ranks, executor, facts, part.group, part.weight_bytes)
        deck.first(deck.fill(batch, context, steps))
        yield deck
        executor.close()
    finally:
        if others is not None:
            others.close()


def _table(rows: list[ScalingRow]) -> str:
    head = ["ranks", "step ms", "computing", "collectives", "plans", "weights MiB"]
    lines = [
        [
            str(row.ranks),
            ranged(row.step_ms, ".2f"),
            f"{row.compute_ms:.2f}",
            f"{row.collectives_ms:.2f}",
            f"{row.control_ms:.3f}",
            f"{row.weight_bytes / 2**20:.1f}",
        ]
        for row in rows
    ]
    return grid([head, *lines], left=0)


def _picture(rows: list[ScalingRow], model: str, batch: int) -> str:
    groups = [
        [
            ChartBar(f"{row.ranks}: {name}", value, colour, f"{name}: {value:.2f} ms")
            for name, value, colour in (
                ("computing", row.compute_ms, "blue"),
                ("collectives", row.collectives_ms, "orange"),
                ("plans", row.control_ms, "aqua"),
            )
        ]
        for row in rows
    ]
    chart = BarChart(groups, f"A decode step of {batch} jobs, {model}, by ranks", "ms")
    return bar_sheet("Where a step's time goes on one rank and on several", [chart], 560.0)
