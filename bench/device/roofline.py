"""What the device can do at most: the rooflines (Williams, Waterman, Patterson 2009).

Owns the probes (a large copy, a large product, the pinned link both ways) and the share of the
roofline that a time is. The probes run in the same rounds as what is measured: on a shared machine
yesterday's speed is another machine's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median

import torch

from .race import Contestant

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
