"""Decode iterations that are replayed instead of launched kernel by kernel.

Owns `DecodeGraphs`: the sizes that are recorded, the tensors that a replay reads and writes, and
the choice between replay and launch. It does not know jobs or sampling, nor how recording works
(`capture`). The runner calls it in the decoder's place.

All are recorded at the start, behind the lines of the kernel forms: no job then waits for one, what
they take of the memory shows before the first job, and times that are measured at the start are
those of replays. A recording needs no job: rows and tiles that do nothing are enough.
"""

from __future__ import annotations

import logging
from bisect import bisect_left
from collections.abc import Callable

import torch
from torch import Tensor

from ..kernels.dispatch import Kernels
from ..kernels.layout import PagedKv
from ..kernels.standing import StandingBatch
from ..model.decoder import Decoder, ForwardBatch
from ..model.weights.loaded import LoadedModel
from .capture import Capture, CudaCapture

log = logging.getLogger("skipjoin.engine")

_DOUBLED_UP_TO = 64


def row_counts(most: int) -> list[int]:
    """Sizes that are recorded: powers of two to 64, then every 64, and `most` itself.

    Weights are read once whatever the size, so few rows may be doubled; from some hundred on a
    product's time grows with its rows.
    """
    doubled = [1 << i for i in range(_DOUBLED_UP_TO.bit_length()) if 1 << i < most]
    return [*doubled, *range(2 * _DOUBLED_UP_TO, most, _DOUBLED_UP_TO), most]


def capture_for(device: torch.device, kernels: Kernels, rows: int, capture: Capture | None) -> Capture | None:
    """By what decodes of up to `rows` jobs are recorded; `capture` None: CUDA's. None where there
    is no way to replay, or none is wanted.
    """
    if kernels.standing is None or rows < 1:
        return None
    return CudaCapture(device) if capture is None and device.type == "cuda" else capture


def decode_graphs(
    decoder: Decoder, model: LoadedModel, kv: PagedKv, kernels: Kernels, rows: int, capture: Capture | None
) -> DecodeGraphs | None:
    """Graphs of decodes of up to `rows` jobs; None where nothing records (`capture_for`) or none
    could be had.
    """
    if capture is None:
        return None
    assert kernels.standing is not None, "capture_for says so"
    width = min(-(-model.config.max_context_tokens // kv.layout.page_tokens), len(kv.pool))
    graphs = DecodeGraphs(decoder, model, kernels.standing(kv, decoder.shapes, rows, width), rows)
    return graphs if graphs.record(capture) else None


class DecodeGraphs:
    """Forward passes of decodes. `replayed` counts the replays."""

    def __init__(self, decoder: Decoder, model: LoadedModel, standing: StandingBatch, rows: int) -> None:
        device = model.device
        self._decoder = decoder
        self._standing = standing
        self._row_counts = row_counts(rows)
        self._tokens = torch.zeros(rows, dtype=torch.int64, device=device)
        self._positions = torch.zeros(rows, dtype=torch.int64, device=device)
        # One for each size: what an earlier iteration left behind the rows of this one is then a
        # row of the same size.
        self._sampled = {count: torch.arange(count, device=device) for count in self._row_counts}
        self._logits = torch.zeros(rows, model.config.vocab_size, dtype=model.dtype, device=device)
        self._replays: dict[tuple[int, int], Callable[[], None]] = {}
        self.replayed = 0

    def record(self, capture: Capture) -> int:
        """Record every size at every level, the largest first, whose memory then serves all others;
        gives how many there are now.
        """
        wanted = [
            (rows, level)
            for rows in reversed(self._row_counts)
            for level in reversed(range(self._standing.levels(rows)))
        ]
        without = ""
        for done, (rows, level) in enumerate(wanted):
            log.info("recording decode graph %d of %d: %d rows", done + 1, len(wanted), rows)
            try:
                self._replays[rows, level] = capture(self._work(rows, level))
            except torch.OutOfMemoryError as full:
                without = str(full)  # a smaller one may fit
            except RuntimeError as bad:
                without = str(bad)
                break
        if without:
            log.warning(
                "%d of %d decode graphs could be recorded, other decodes are launched kernel by kernel: %s",
                len(self._replays),
                len(wanted),
                without,
            )
        return len(self._replays)

    @torch.inference_mode()
    def forward(self, batch: ForwardBatch) -> Tensor:
        """As `Decoder.forward`; of a replay the answer holds until the next one."""
        count, sampled, replay = len(batch.tokens), batch.sampled, None
        if sampled is not None and len(sampled) == count <= self._row_counts[-1]:
            rows = self._row_counts[bisect_left(self._row_counts, count)]
            level = self._standing.fill(batch.attention, rows)
            replay = None if level is None else self._replays.get((rows, level))
        if sampled is None or replay is None:
            return self._decoder.forward(batch)
        # Behind them stay tokens and positions of earlier iterations, which are as good as any.
        self._tokens[:count].copy_(batch.tokens)
        self._positions[:count].copy_(batch.positions)
        self._sampled[rows][:count].copy_(sampled)
        replay()
        self.replayed += 1
        return self._logits[:count]

    def _work(self, rows: int, level: int) -> Callable[[], None]:
        # Angles of what is recorded are computed: nobody asks how far the positions go.
        batch = ForwardBatch(
            self._tokens[:rows], self._positions[:rows], 0, self._standing.view(rows, level), self._sampled[rows]
        )
        logits = self._logits[:rows]

        @torch.inference_mode()
        def work() -> None:
            # Out of the graphs' common memory, which the next replay writes over: some microseconds
            # of a step.
            logits.copy_(self._decoder.forward(batch))

        return work
