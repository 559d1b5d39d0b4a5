"""The forward pass: token ids and index tensors in, logits out.

Owns the order of operations of a pre-norm decoder with rotary, grouped-query attention and a gated MLP. It does not know jobs, plans or
sampling; `batch.py` says which token sits where, the runner calls it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..kernels.dispatch import Kernels, kernels_for
from ..kernels.elementwise import rotary_angles
from ..kernels.layout import PagedKv
from ..kernels.paged_attention import ChunkSpan, DecodeGroup
from .config import RopeScaling
from .weights import LayerWeights, LoadedModel


@dataclass(frozen=True, slots=True)
class ForwardBatch:
    """The tokens of one iteration, flattened: decode members first, then the prefill chunks.

    `tokens` and `positions` int64[n]; `write` int64[n, 2 * kv_heads] as `PagedKv.write_index`; `groups` and `chunks` cover all rows;
    `sampled` int64[s] are the rows whose logits are wanted, None for all.
    """

    tokens: Tensor
    positions: Tensor
    write: Tensor
    groups: tuple[DecodeGroup, ...]
    chunks: tuple[ChunkSpan, ...]
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

    def __init__(self, model: LoadedModel, kv: PagedKv, kernels: Kernels | None = None) -> None:
        self._config = model.config
        self._weights = model.weights
        self._dtype = model.dtype
        self._kv = kv
        self._kernels = kernels if kernels is not None else kernels_for(model.device)
        self._frequencies = inverse_frequencies(model.config.rope, model.config.head_dim, model.device)

    @torch.inference_mode()
    def forward(self, batch: ForwardBatch) -> Tensor:
        """Logits [sampled rows, vocab] in the model's dtype; keys and values of all tokens are in their pages afterwards."""
        config, kernels, weights = self._config, self._kernels, self._weights
        hidden = torch.nn.functional.embedding(batch.tokens, weights.embedding)
        cos, sin = rotary_angles(batch.positions, self._frequencies, self._dtype)
        mixed = hidden.new_empty(len(batch.tokens), config.heads, config.head_dim)
        for index, layer in enumerate(weights.layers):
            normed = kernels.rms_norm(hidden, layer.attention_norm, config.norm_eps)
            self._attend(index, layer, normed, batch, cos, sin, mixed)
            hidden = layer.attention_out(mixed.view(len(batch.tokens), -1)).add_(hidden)
            normed = kernels.rms_norm(hidden, layer.mlp_norm, config.norm_eps)
            hidden = layer.down(kernels.silu_gate(layer.gate_up(normed))).add_(hidden)
        if batch.sampled is not None:
            hidden = hidden[batch.sampled]
        if not len(hidden):
            return hidden.new_empty(0, config.vocab_size)
        return weights.head(kernels.rms_norm(hidden, weights.final_norm, config.norm_eps))

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
        kernels.rotate_(qkv[:, : config.heads + config.kv_heads], cos, sin)
        kernels.write_kv(self._kv, index, batch.write, qkv[:, config.heads :])
        queries = qkv[:, : config.heads]
        for group in batch.groups:
            kernels.decode_attention(self._kv, index, group, queries, mixed)
        for chunk in batch.chunks:
            kernels.chunk_attention(self._kv, index, chunk, queries, mixed)
