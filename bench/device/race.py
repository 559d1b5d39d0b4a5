"""Times of several contestants that take turns.

Owns the rounds, how often one runs in a sample, waiting for CUDA and the choice to replay. It does
not know what runs: kernels, probes or candidates of a search.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

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
