"""The forward pass where the layers are divided into the stages of a pipeline.

Owns what the first stage and a later one do with a batch, and which of them a model is. The stream
goes round: the first stage embeds, each runs its layers and hands the stream on, and the rows that
are wanted come back to the first, which has the head. So whoever samples stands where the tokens
are embedded. What a layer does is the decoder's business, how rows pass the ring's.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..kernels.dispatch import Kernels
from ..kernels.layout import PagedKv
from .decoder import Decoder, ForwardBatch
from .parts.ring import Ring
from .weights.loaded import LoadedModel


def decoder_of(
    model: LoadedModel, kv: PagedKv, kernels: Kernels, *, recorded: bool, beat: Callable[[], None] = lambda: None
) -> Decoder:
    """What runs the model, or the stage of it that was loaded."""
    ring = model.ring
    if ring is None:
        return Decoder(model, kv, kernels, recorded=recorded, beat=beat)
    stage = FirstStage if ring.stage == 0 else LaterStage
    return stage(model, ring, kv, kernels, recorded=recorded, beat=beat)


class _StageDecoder(Decoder):
    """A decoder of some of the layers: nothing is normed behind its last one, for the next layer or
    the head does that where it is.
    """

    def __init__(
        self,
        model: LoadedModel,
        ring: Ring,
        kv: PagedKv,
        kernels: Kernels,
        *,
        recorded: bool,
        beat: Callable[[], None],
    ) -> None:
        super().__init__(model, kv, kernels, recorded=recorded, beat=beat)
        self._ring = ring
        self._hidden = model.config.hidden
        self._dtype = model.dtype

    def _received(self, batch: ForwardBatch, rows: int) -> Tensor:
        return self._ring.receive(batch.tokens.new_empty(rows, self._hidden, dtype=self._dtype))


class FirstStage(_StageDecoder):
    """Has embedding and head."""

    @torch.inference_mode()
    def forward(self, batch: ForwardBatch) -> Tensor:
        """As `Decoder.forward`; keys and values of its own layers alone are in its pages."""
        parts = self._parts
        stream = parts.embedding.of(batch.tokens, batch.positions)
        self._ring.send(self._through(stream, batch, None))
        wanted = (batch.tokens if batch.sampled is None else batch.sampled).shape[0]
        rows = self._received(batch, wanted) if wanted else stream[:0]
        return self._logits(parts.last_norm.of(self._kernels, rows) if wanted else rows)


class LaterStage(_StageDecoder):
    """Has layers alone."""

    @torch.inference_mode()
    def forward(self, batch: ForwardBatch) -> Tensor:
        """What was handed on, [n, hidden]: all rows, and behind the model's last layer the wanted
        ones.
        """
        is_last = self._ring.stage == self._ring.stages - 1
        stream = self._received(batch, batch.tokens.shape[0])
        rows = self._through(stream, batch, batch.sampled if is_last else None)
        if rows.shape[0]:
            self._ring.send(rows)
        return rows
