"""Times of several contestants who take turns.

Owns the rounds, how often one runs in a sample, waiting for CUDA and the choice to replay. It does not know what runs. `study` calls it with kernels
and probes, the search for sizes with candidates.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch

from ...core.clock import Clock
from ...executor.capture import Capture, CudaCapture
from .contest import Contestant

SAMPLE_NS = 15_000_000
MOST_RUNS = 10_000


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
    """Name -> nanoseconds of one run, a sample a round: A B C, A B C, ... A sample runs as often as fills `sample_ns`, at least once.

    `capture` None: on CUDA its graphs, as decode runs them, else nothing is recorded. Who cannot be runs as it is, and `unrecorded` gets name -> why.
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
            timed(run, 1, device, clock)  # set-up is nobody's time
            alone_ns = max(timed(run, 1, device, clock), 1)
            lanes.append((one.name, run, int(min(max(sample_ns // alone_ns, 1), MOST_RUNS))))
        times: dict[str, list[float]] = {name: [] for name, _, _ in lanes}
        for _ in range(rounds):
            for name, run, often in lanes:
                times[name].append(timed(run, often, device, clock) / often)
    return times


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
