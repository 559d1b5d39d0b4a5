"""The forward pass: token ids and index tensors in, logits out.

Owns the order of operations of a decoder; which of them a family has is chosen once, at load, by
its row and config. It does not know jobs, plans or sampling; `batch.py` says which token sits
where, the runner calls it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import embedding, gelu, silu

from ..kernels.dispatch import Kernels
from ..kernels.layout import PagedKv
from ..kernels.ragged_attention import AttentionShape
from .architectures import Norm
from .config import ModelConfig
from .parts.rotary_table import RotaryTable
from .weights.loaded import LayerWeights, LoadedModel, ModelWeights, NormWeights


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
        config = model.config
        self._config = config
        self._weights = model.weights
        self._dtype = model.dtype
        self._kv = kv
        self._kernels = kernels
        self._norm, self._add_norm_ = _norms(kernels, config)
        self._activate = _activation(kernels, config)
        self._sums = _norms_behind_sums(config, model.weights)
        self._shapes = tuple(
            AttentionShape(config.heads, layer.scale, layer.window, config.attention_softcap)
            for layer in config.attention
        )
        self._ropes = tuple(RotaryTable(rope, model.device, model.dtype, recorded=recorded) for rope in config.ropes)
        self._scale = _embedding_scale(model)
        self._beat = beat

    @property
    def shapes(self) -> tuple[AttentionShape, ...]:
        """What attention looks like, for each layer."""
        return self._shapes

    @torch.inference_mode()
    def forward(self, batch: ForwardBatch) -> Tensor:
        """Logits [sampled rows, vocab] in the model's dtype; keys and values of all tokens are in
        their pages afterwards.
        """
        config, weights = self._config, self._weights
        hidden = self._embed(batch)
        angles = self._angles(batch.positions, batch.end)
        mixed = hidden.new_empty(batch.tokens.shape[0], config.heads, config.head_dim)
        rows = mixed.view(-1, config.heads * config.head_dim)
        normed = self._norm(hidden, weights.layers[0].attention_norm) if config.norm_before else hidden
        for index, (layer, (attention_sum, mlp_sum)) in enumerate(zip(weights.layers, self._sums, strict=True)):
            self._attend(index, layer, normed, batch, angles, mixed)
            if index == config.layers - 1 and batch.sampled is not None:
                # Behind the last attention rows no longer look at each other: only those that are
                # wanted go on.
                hidden, rows = hidden[batch.sampled], rows[batch.sampled]
                if not len(hidden):
                    break
            summand = layer.attention_out(rows)
            if layer.after_attention_norm is not None:
                summand = self._norm(summand, layer.after_attention_norm)
            normed = self._add_norm_(summand, hidden, attention_sum)
            if not config.norm_before:
                hidden = normed
            summand = layer.down(self._activate(layer.gate_up(normed)))
            if layer.after_mlp_norm is not None:
                summand = self._norm(summand, layer.after_mlp_norm)
            normed = self._add_norm_(summand, hidden, mlp_sum)
            if not config.norm_before:
                hidden = normed
            self._beat()
        return self._logits(normed) if len(hidden) else hidden.new_empty(0, config.vocab_size)

    def _embed(self, batch: ForwardBatch) -> Tensor:
        weights = self._weights
        hidden = embedding(batch.tokens, weights.embedding)
        if self._scale is not None:
            hidden.mul_(self._scale)
        if weights.embedding_in is not None:
            hidden = weights.embedding_in(hidden)
        if weights.positions is not None:
            hidden = hidden + embedding(batch.positions, weights.positions)
        return hidden

    def _angles(self, positions: Tensor, end: int) -> list[tuple[Tensor, Tensor]]:
        """Cosine and sine for each rotary embedding; empty ones, by which nothing turns, where
        positions are learned.
        """
        if not self._ropes:
            nothing = torch.empty(len(positions), 1, 0, dtype=self._dtype, device=positions.device)
            return [(nothing, nothing)]
        return [rope.at(positions, end) for rope in self._ropes]

    def _attend(
        self,
        index: int,
        layer: LayerWeights,
        normed: Tensor,
        batch: ForwardBatch,
        angles: list[tuple[Tensor, Tensor]],
        mixed: Tensor,
    ) -> None:
        """Fill `mixed` with the attention of all rows, after their keys and values are in the
        pages.
        """
        config, kernels = self._config, self._kernels
        qkv = layer.qkv(normed).view(mixed.shape[0], -1, config.head_dim)
        if layer.query_norm is not None and layer.key_norm is not None:
            self._norm_heads_(qkv[:, : config.heads], layer.query_norm)
            self._norm_heads_(qkv[:, config.heads : config.heads + config.kv_heads], layer.key_norm)
        cos, sin = angles[config.attention[index].rope]
        kernels.rotate_and_write(self._kv, index, qkv, cos, sin, batch.attention)
        kernels.attend(self._kv, index, self._shapes[index], batch.attention, qkv[:, : config.heads], mixed)

    def _norm_heads_(self, heads: Tensor, weight: Tensor) -> None:
        rows = heads.reshape(-1, self._config.head_dim)
        heads.copy_(self._kernels.rms_norm(rows, weight, self._config.norm_eps).view(heads.shape))

    def _logits(self, normed: Tensor) -> Tensor:
        weights, cap = self._weights, self._config.logit_softcap
        if weights.embedding_out is not None:
            normed = weights.embedding_out(normed)
        logits = weights.head(normed)
        return logits if cap is None else logits.div_(cap).tanh_().mul_(cap)


def _norms(
    kernels: Kernels, config: ModelConfig
) -> tuple[Callable[[Tensor, NormWeights], Tensor], Callable[[Tensor, Tensor, NormWeights], Tensor]]:
    """The family's norm, alone and fused with the sum in front of it."""
    eps = config.norm_eps
    if config.architecture.norm is Norm.LAYER:
        return (
            lambda x, norm: kernels.layer_norm(x, norm.weight, norm.bias, eps),
            lambda x, residual, norm: kernels.add_layer_norm_(x, residual, norm.weight, norm.bias, eps),
        )
    return (
        lambda x, norm: kernels.rms_norm(x, norm.weight, eps),
        lambda x, residual, norm: kernels.add_rms_norm_(x, residual, norm.weight, eps),
    )


def _activation(kernels: Kernels, config: ModelConfig) -> Callable[[Tensor], Tensor]:
    """What stands between the two products of the MLP."""
    if config.architecture.tensors.gated:
        return {"silu": kernels.silu_gate, "gelu_tanh": kernels.gelu_gate}[config.activation]
    plain: dict[str, Callable[[Tensor], Tensor]] = {
        "relu": torch.relu_,
        "silu": silu,
        "gelu": gelu,
        "gelu_tanh": partial(gelu, approximate="tanh"),
    }
    return plain[config.activation]


def _norms_behind_sums(config: ModelConfig, weights: ModelWeights) -> tuple[tuple[NormWeights, NormWeights], ...]:
    """For each layer the norms that follow the sum behind attention and the sum behind the MLP."""
    layers = weights.layers
    if not config.norm_before:
        return tuple((layer.attention_norm, layer.mlp_norm) for layer in layers)
    assert weights.final_norm is not None
    following = [*(layer.attention_norm for layer in layers[1:]), weights.final_norm]
    return tuple((layer.mlp_norm, norm) for layer, norm in zip(layers, following, strict=True))


def _embedding_scale(model: LoadedModel) -> float | None:
    """sqrt(hidden), rounded as a tensor of the model's would be: that is how the models were
    trained.
    """
    if not model.config.architecture.embedding_scaled:
        return None
    return float(torch.tensor(model.config.hidden**0.5, dtype=torch.float32).to(model.dtype))
