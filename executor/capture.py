"""How work on a device is recorded once and launched again as a whole.

Owns `CudaCapture`, which makes CUDA graphs, and the port `Capture` that it fills. It does not know
what the work is. `graphs` calls it, and `skipjoin bench kernels`; tests put a recorder of the CPU's
operations in its place.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch

_FREE_KEPT = 0.05
"""Of a device's memory: what graphs must leave for prefills. The pools left twice that
(`capacity`).
"""


class Capture(Protocol):
    """Called with work that takes nothing, whose answer is dropped; gives what does the same again
    on the same tensors without the host's part.

    Raises torch.OutOfMemoryError where there is no room, RuntimeError where the work cannot be
    recorded.
    """

    def __call__(self, work: Callable[[], object]) -> Callable[[], None]: ...


class CudaCapture:
    """A CUDA graph for each work, all in one memory pool.

    They may share it because they run one after the other on one stream and nothing that one leaves
    in the pool is read after another began.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._pool = torch.cuda.graph_pool_handle()
        # Explicit, and the same for all: memory of a pool is shared among captures on one stream.
        self._stream = torch.cuda.Stream(device)
        self._before = torch.cuda.Stream(device)

    def __call__(self, work: Callable[[], object]) -> Callable[[], None]:
        """Runs `work` twice, once for real: what it loads and sets up when it first runs must not
        happen while a graph is recorded.
        """
        free, total = torch.cuda.mem_get_info(self._device)
        if free < total * _FREE_KEPT:
            raise torch.OutOfMemoryError(
                f"{free / 2**30:.1f} GiB of {total / 2**30:.1f} are free, too few for a CUDA graph beside the work"
            )
        current = torch.cuda.current_stream(self._device)
        # The inner `stream` puts the current one back where a recording fails half-way.
        with torch.cuda.device(self._device), torch.cuda.stream(current):
            self._before.wait_stream(current)
            with torch.cuda.stream(self._before):
                work()
            current.wait_stream(self._before)
            graph = torch.cuda.CUDAGraph()
            # Other threads of the process may go on using the device meanwhile.
            with torch.cuda.graph(graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"):
                work()
        return graph.replay
