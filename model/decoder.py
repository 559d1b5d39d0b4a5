"""The forward pass: token ids and index tensors in, logits out.

Owns the order of a pass: embedding, layers, head, and which rows go on behind the last attention.
What each of them is made of was chosen when the model was loaded, by its row and config.json; so
this knows no family. It does not know jobs, plans or sampling either; `batch.py` says which token
sits where, the runner calls it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..kernels.dispatch import Kernels
from ..kernels.layout import PagedKv
from ..kernels.ragged_attention import AttentionShape
from .parts.norm import AsItIs
from .parts.positions import turning_of
from .parts.step import Step
from .weights.loaded import LoadedModel


@dataclass(frozen=True, slots=True)
class ForwardBatch:
    """The tokens of one iteration, flattened: decode members first, then the prefill chunks.

    `tokens` and `positions` int64[n], the positions below `end`; `attention` is what
    `Kernels.prepare` made of pages, contexts and slots; `sampled` int64[s] are the rows whose
    logits are wanted, None for all.
    """

    tokens: Tensor
    positions: Tensor
    end: int
    attention: Any
    sampled: Tensor | None


class Decoder:
    """Runs a loaded model over a paged pool."""

    def __init__(
        self,
        model: LoadedModel,
        kv: PagedKv,
        kernels: Kernels,
        *,
        recorded: bool,
        beat: Callable[[], None] = lambda: None,
    ) -> None:
        """`recorded`: passes may be recorded and launched again, so no pass may ask the host what
        its tensors hold. `beat` is called after each layer.
        """
        config, layers = model.config, model.parts.layers
        self._config = config
        self._parts = model.parts
        self._kv = kv
        self._kernels = kernels
        # A stage hands the stream on as it is: what follows its last layer is elsewhere.
        behind = model.parts.last_norm if model.ring is None else AsItIs()
        following = (*(layer.entry for layer in layers[1:]), behind)
        self._layers = tuple(zip(layers, following, strict=True))
        self._turning = turning_of(config.ropes, model.device, model.dtype, recorded=recorded)
        self._beat = beat

    @property
    def shapes(self) -> tuple[AttentionShape, ...]:
        """What attention looks like, for each layer."""
        return tuple(layer.attention.shape for layer in self._parts.layers)

    @torch.inference_mode()
    def forward(self, batch: ForwardBatch) -> Tensor:
        """Logits [sampled rows, vocab] in the model's dtype; keys and values of all tokens are in
        their pages afterwards.
        """
        stream = self._parts.embedding.of(batch.tokens, batch.positions)
        return self._logits(self._through(stream, batch, batch.sampled))

    def _through(self, stream: Tensor, batch: ForwardBatch, wanted: Tensor | None) -> Tensor:
        """What the layers make of the stream, normed by what follows them: the `wanted` rows of it,
        all where that is None.
        """
        config, parts, kernels = self._config, self._parts, self._kernels
        angles = self._turning.at(batch.positions, batch.end)
        mixed = stream.new_empty(batch.tokens.shape[0], config.heads, config.head_dim)
        rows = mixed.view(-1, config.heads * config.head_dim)
        step = Step(kernels, self._kv, batch.attention, angles, mixed)
        last = parts.layers[-1]
        entered = parts.layers[0].entry.of(kernels, stream)
        for layer, following in self._layers:
            layer.attention.mix(entered, step)
            if layer is last and wanted is not None:
                # Behind the last attention rows no longer look at each other: only those that are
                # wanted go on.
                stream, rows = stream[wanted], rows[wanted]
                if layer.reads_entered:
                    entered = entered[wanted]
                if not stream.shape[0]:
                    return stream
            stream, entered = layer.join(kernels, stream, entered, rows, following)
            self._beat()
        return entered

    def _logits(self, rows: Tensor) -> Tensor:
        return self._parts.head.of(rows) if rows.shape[0] else rows.new_empty(0, self._config.vocab_size)
