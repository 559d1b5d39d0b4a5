"""What the device can do at most, measured beside every kernel: the rooflines (Williams, Waterman, Patterson 2009).

Owns the probes (a large copy, a large product, the pinned link both ways) and the share of the roofline that a time is. The probes run in the same
rounds as the kernels: on a shared machine yesterday's speed is another machine's. `study` calls it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from .contest import Contestant, Work

COPY_BYTES = {"cuda": 1 << 30, "cpu": 1 << 26}
GEMM_SIZE = {"cuda": 8192, "cpu": 768}
SLOW_GEMM_SIZE = 256
"""float16 on a CPU: torch multiplies it a hundred times slower than float32 where the processor has no units for it."""

LINK_BYTES = 1 << 28
COPY, GEMM, OUT, IN = "copy", "gemm", "out", "in"


@dataclass(frozen=True, slots=True)
class Probe:
    """A contestant against whom nobody competes; `amount` bytes or operations of one run."""

    contestant: Contestant
    amount: int


def probes(device: torch.device, dtype: torch.dtype) -> dict[str, Probe]:
    """By name: `copy` counts bytes read and written, `gemm` 2 n^3 operations, `out` and `in` bytes over the link, on CUDA alone."""
    size = COPY_BYTES[device.type]
    source = torch.zeros(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    side = SLOW_GEMM_SIZE if device.type == "cpu" and dtype == torch.float16 else GEMM_SIZE[device.type]
    left, right = (torch.rand(side, side, device=device).to(dtype) for _ in range(2))
    product = torch.empty_like(left)
    made = {
        COPY: _probe(COPY, lambda: target.copy_(source), 2 * size),
        GEMM: _probe(GEMM, lambda: torch.mm(left, right, out=product), 2 * side**3),
    }
    if device.type == "cuda":
        pinned = torch.zeros(LINK_BYTES, dtype=torch.uint8, pin_memory=True)
        made[OUT] = _probe(OUT, lambda: pinned.copy_(source[:LINK_BYTES], non_blocking=True), LINK_BYTES)
        made[IN] = _probe(IN, lambda: target[:LINK_BYTES].copy_(pinned, non_blocking=True), LINK_BYTES)
    return made


def _probe(name: str, run: Callable[[], object], amount: int) -> Probe:
    return Probe(Contestant(name, run, None, graphable=False), amount)


def roofline_ns(work: Work, speeds: dict[str, float]) -> float:
    """The least time for `work` at such speeds, in bytes and operations a nanosecond: whatever of its parts takes longest."""
    times = [work.bytes / speeds[COPY], work.flops / speeds[GEMM]]
    if work.link is not None and work.link in speeds:
        times.append(work.link_bytes / speeds[work.link])
    return max(times)
