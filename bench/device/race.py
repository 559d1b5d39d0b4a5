"""Times of several contestants that take turns, and what the device can do at most.

Owns the rounds, how often one runs in a sample, waiting for CUDA, the choice to replay, and the
rooflines (Williams, Waterman, Patterson 2009): probes (a large copy, a large product, the pinned
link both ways) that run in the same rounds as what is measured, for on a shared machine yesterday's
speed is another machine's. It does not know what runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median

import torch
from torch import Tensor

from ...core.clock import Clock
from ...executor.capture import Capture, CudaCapture

SAMPLE_NS = 15_000_000
MOST_RUNS = 10_000


@dataclass(frozen=True, slots=True)
class Contestant:
    """Something to time.

    `run`: is timed, again and again on the same memory. `result`: computes once and gives what is
    compared with the truth; None where it does something else. `graphable`: nothing in `run` waits
    for the device, so that CUDA can replay it without Python between the launches.
    """

    name: str
    run: Callable[[], object]
    result: Callable[[], Tensor] | None
    graphable: bool = True


def race(
    contestants: Iterable[Contestant],
    rounds: int,
    device: torch.device,
    clock: Clock,
    sample_ns: int = SAMPLE_NS,
    *,
    capture: Capture | None = None,
    unrecorded: dict[str, str] | None = None,
) -> dict[str, list[float]]:
    """Name -> nanoseconds of one run, a sample a round: A B C, A B C, ...

    A sample runs as often as fills `sample_ns`, at least once. `capture` None: on CUDA its graphs,
    as decode runs them, else nothing is recorded. A contestant that cannot be recorded runs as it
    is, and `unrecorded` gets name -> why.
    """
    lanes = []
    if capture is None and device.type == "cuda":
        capture = CudaCapture(device)
    with torch.inference_mode():
        for one in contestants:
            run = one.run
            if capture is not None and one.graphable:
                try:
                    run = capture(one.run)
                except RuntimeError as why:
                    if unrecorded is not None:
                        unrecorded[one.name] = str(why)
            lanes.append((one.name, run, runs_of_a_sample(run, device, clock, sample_ns)))
        times: dict[str, list[float]] = {name: [] for name, _, _ in lanes}
        for _ in range(rounds):
            for name, run, often in lanes:
                times[name].append(timed(run, often, device, clock) / often)
    return times


def runs_of_a_sample(run: Callable[[], object], device: torch.device, clock: Clock, sample_ns: int) -> int:
    """How often it runs in `sample_ns`, found by two runs, of which the first may set things up."""
    timed(run, 1, device, clock)
    alone_ns = max(timed(run, 1, device, clock), 1)
    return int(min(max(sample_ns // alone_ns, 1), MOST_RUNS))


def timed(run: Callable[[], object], often: int, device: torch.device, clock: Clock) -> int:
    """Nanoseconds of `often` runs, until the device is done."""
    _wait(device)
    begun_ns = clock.now_ns()
    for _ in range(often):
        run()
    _wait(device)
    return clock.now_ns() - begun_ns


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


COPY_BYTES = {"cuda": 1 << 30, "cpu": 1 << 26}
GEMM_SIZE = {"cuda": 8192, "cpu": 768}
SLOW_GEMM_SIZE = 256
"""float16 on a CPU: torch multiplies it a hundred times slower than float32 without units for it."""

LINK_BYTES = 1 << 28
COPY, GEMM, OUT, IN = "copy", "gemm", "out", "in"
NAMES = {COPY: "copy, read and written", GEMM: "matrix product", OUT: "pinned copy out", IN: "pinned copy in"}


@dataclass(frozen=True, slots=True)
class Work:
    """The least that must be done.

    `bytes`: that memory moves. `flops`: products and sums. `link_bytes`: over the link to the host,
    the way that `link` says.
    """

    bytes: int
    flops: int = 0
    link: str | None = None
    link_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Probe:
    """A contestant without competitors; `amount`: bytes or operations of one run."""

    contestant: Contestant
    amount: int


@dataclass(frozen=True, slots=True)
class SpeedRow:
    """A roofline over all cases: GB/s or GFLOP/s, median, smallest and largest."""

    name: str
    unit: str
    median: float
    low: float
    high: float

    def as_json(self) -> dict[str, object]:
        """A line of the file."""
        return {"kind": "speed", **asdict(self)}

    def __str__(self) -> str:
        return f"{NAMES[self.name]:<24} {self.median:,.1f} {self.unit} ({self.low:,.1f} to {self.high:,.1f})"


def probes(device: torch.device, dtype: torch.dtype) -> dict[str, Probe]:
    """`copy` counts bytes read and written, `gemm` 2 n^3 operations, `out` and `in` bytes."""
    size = COPY_BYTES[device.type]
    source = torch.zeros(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    side = SLOW_GEMM_SIZE if device.type == "cpu" and dtype == torch.float16 else GEMM_SIZE[device.type]
    left, right = (torch.rand(side, side, device=device).to(dtype) for _ in range(2))
    product = torch.empty_like(left)
    made: dict[str, tuple[Callable[[], object], int]] = {
        COPY: (lambda: target.copy_(source), 2 * size),
        GEMM: (lambda: torch.mm(left, right, out=product), 2 * side**3),
    }
    if device.type == "cuda":
        pinned = torch.zeros(LINK_BYTES, dtype=torch.uint8, pin_memory=True)
        made[OUT] = (lambda: pinned.copy_(source[:LINK_BYTES], non_blocking=True), LINK_BYTES)
        made[IN] = (lambda: target[:LINK_BYTES].copy_(pinned, non_blocking=True), LINK_BYTES)
    return {name: Probe(Contestant(name, run, None, graphable=False), amount) for name, (run, amount) in made.items()}


def roofline_ns(work: Work, speeds: Mapping[str, float]) -> float:
    """The least time for `work` at such speeds, in bytes and operations a nanosecond."""
    times = [work.bytes / speeds[COPY], work.flops / speeds[GEMM]]
    if work.link is not None and work.link in speeds:
        times.append(work.link_bytes / speeds[work.link])
    return max(times)


def speed_rows(seen: Mapping[str, Sequence[float]]) -> Iterable[SpeedRow]:
    """A row for each probe that ran."""
    for name, rates in seen.items():
        if rates:
            unit = "GFLOP/s" if name == GEMM else "GB/s"
            yield SpeedRow(name, unit, median(rates), min(rates), max(rates))
