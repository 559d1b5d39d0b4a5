"""Times of several contestants who take turns.

Owns the rounds, how often one runs in a sample, and CUDA's waiting and replaying. It does not know what runs. `study` calls it with kernels and
probes, the search for sizes with candidates.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch

from ...core.clock import Clock
from .contest import Contestant

SAMPLE_NS = 15_000_000
MOST_RUNS = 10_000


def race(
    contestants: Iterable[Contestant], rounds: int, device: torch.device, clock: Clock, sample_ns: int = SAMPLE_NS
) -> dict[str, list[float]]:
    """Name -> nanoseconds of one run, a sample a round: A B C, A B C, ... A sample runs as often as fills `sample_ns`, at least once."""
    lanes = []
    with torch.inference_mode():
        for one in contestants:
            run = _replayed(one.run, device) if one.graphable and device.type == "cuda" else one.run
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


def _replayed(run: Callable[[], object], device: torch.device) -> Callable[[], object]:
    """The run as a CUDA graph, as decode runs it; as it is, where it cannot be captured."""
    side = torch.cuda.Stream(device)
    side.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(side):
        run()
    torch.cuda.current_stream(device).wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    try:
        with torch.cuda.graph(graph):
            run()
    except RuntimeError:
        return run
    return graph.replay
