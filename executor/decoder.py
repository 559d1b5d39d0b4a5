"""The forward pass: token ids and index tensors in, logits out.

Owns the order of operations of a pre-norm decoder with rotary, grouped-query attention and a gated MLP. It does not know jobs, plans or
sampling; `batch.py` says which token sits where, the runner calls it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..kernels.dispatch import Kernels
from ..kernels.elementwise import rotary_angles
from ..kernels.layout import PagedKv
from ..kernels.ragged_attention import AttentionShape
from .config import RopeScaling
from .weights import LayerWeights, LoadedModel


@dataclass(frozen=True, slots=True)
class ForwardBatch:
    """The tokens of one iteration, flattened: decode members first, then the prefill chunks.

    `tokens` and `positions` int64[n]; `attention` is what `Kernels.prepare` made of pages, contexts and slots; `sampled` int64[s] are the rows
    whose logits are wanted, None for all.
    """

    tokens: Tensor
    positions: Tensor
    attention: Any
    sampled: Tensor | None


def inverse_frequencies(rope: RopeScaling, head_dim: int, device: torch.device) -> Tensor:
    """float32[head_dim / 2]: radians per position of each pair.

    "llama3" keeps pairs that turn more than `high_freq_factor` times within the original context, slows those that turn less than
    `low_freq_factor` times by `factor`, and blends linearly between (Llama 3.1 model card and reference code).
    """
    exponents = torch.arange(0, head_dim, 2, dtype=torch.float32, device=device) / head_dim
    frequencies = 1.0 / (rope.theta**exponents)
    if rope.kind == "linear":
        return frequencies / rope.factor
    if rope.kind == "llama3":
        turns = rope.original_context_tokens * frequencies / (2 * math.pi)
        kept = ((turns - rope.low_freq_factor) / (rope.high_freq_factor - rope.low_freq_factor)).clamp(0.0, 1.0)
        return (1 - kept) * frequencies / rope.factor + kept * frequencies
    return frequencies


class Decoder:
    """Runs a loaded model over a paged pool."""

    def __init__(self, model: LoadedModel, kv: PagedKv, kernels: Kernels) -> None:
        self._config = model.config
        self._weights = model.weights
        self._dtype = model.dtype
        self._kv = kv
        self._kernels = kernels
        shape = AttentionShape(model.config.heads, model.config.head_dim**-0.5)
        self._shapes = (shape,) * model.config.layers
        self._frequencies = inverse_frequencies(model.config.rope, model.config.head_dim, model.device)

    @torch.inference_mode()
    def forward(self, batch: ForwardBatch) -> Tensor:
        """Logits [sampled rows, vocab] in the model's dtype; keys and values of all tokens are in their pages afterwards."""
        config, kernels, weights = self._config, self._kernels, self._weights
        hidden = torch.nn.functional.embedding(batch.tokens, weights.embedding)
        cos, sin = rotary_angles(batch.positions, self._frequencies, self._dtype)
        mixed = hidden.new_empty(len(batch.tokens), config.heads, config.head_dim)
        normed = kernels.rms_norm(hidden, weights.layers[0].attention_norm, config.norm_eps)
        after = [*(layer.attention_norm for layer in weights.layers[1:]), weights.final_norm]
        for index, (layer, next_norm) in enumerate(zip(weights.layers, after, strict=True)):
            self._attend(index, layer, normed, batch, cos, sin, mixed)
            mixed_heads = mixed.view(len(mixed), -1)
            if index == config.layers - 1 and batch.sampled is not None:
                # Behind the last attention rows no longer look at each other: only those that are wanted go on.
                hidden, mixed_heads = hidden[batch.sampled], mixed_heads[batch.sampled]
                if not len(hidden):
                    break
            summand = layer.attention_out(mixed_heads)
            normed = kernels.add_rms_norm_(summand, hidden, layer.mlp_norm, config.norm_eps)
            summand = layer.down(kernels.silu_gate(layer.gate_up(normed)))
            normed = kernels.add_rms_norm_(summand, hidden, next_norm, config.norm_eps)
        if not len(hidden):
            return hidden.new_empty(0, config.vocab_size)
        return weights.head(normed)

    def _attend(
        self,
        index: int,
        layer: LayerWeights,
        normed: Tensor,
        batch: ForwardBatch,
        cos: Tensor,
        sin: Tensor,
        mixed: Tensor,
    ) -> None:
        """Fill `mixed` with the attention of all rows, after their keys and values are in the pages."""
        config, kernels = self._config, self._kernels
        qkv = layer.qkv(normed).view(len(batch.tokens), -1, config.head_dim)
        kernels.rotate_and_write(self._kv, index, qkv, cos, sin, batch.attention)
        kernels.attend(self._kv, index, self._shapes[index], batch.attention, qkv[:, : config.heads], mixed)
