"""The least that an iteration must do: bytes that memory moves, products and sums.

Of a decode step: every weight is read once, of the embedding a row a job, and the keys and values
of each context (where a layer has a window, of that) are read, but for the newest token's, which
are written. Of a prefill: products of every token with every weight, of the head with the last one,
and scores and sums over the causal half of all pairs, 4 * heads * head_dim operations a pair.
Behind the last layer's attention only rows whose logits are wanted go on. What lies between
products, which a perfect kernel would keep on the chip, is not counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from torch import Tensor

from ....model.parts.inside import pieces
from ....model.parts.layer import Layer
from ....model.parts.linear import Linear, products_in
from ....model.weights.loaded import LoadedModel
from ..race import Work


def decode_work(model: LoadedModel, contexts: Sequence[int]) -> Work:
    """One step of a job for each of the contexts, the token that is computed included."""
    config, item = model.config, model.dtype.itemsize
    seen = sum(_seen(context, layer.window) for context in contexts for layer in config.attention)
    token_layer = 2 * config.kv_heads * config.head_dim
    rows = len(contexts)
    read = weight_bytes(model) + rows * config.embedding_width * item
    flops = 2 * rows * _of_a_token(model) + 4 * seen * config.heads * config.head_dim
    return Work(read + seen * token_layer * item, flops)


def prefill_work(model: LoadedModel, chunks: Sequence[tuple[int, int]]) -> Work:
    """A prompt in chunks of (start, length), one behind the other; the last one gives a token."""
    config, item = model.config, model.dtype.itemsize
    *before, last = model.parts.layers
    pairs = sum(
        _seen(context, layer.window)
        for start, length in chunks
        for layer in config.attention
        for context in range(start + 1, start + length + 1)
    )
    tokens = sum(length for _, length in chunks)
    behind = _numbers(_behind_attention(last)) + _numbers([model.parts.head.product])
    numbers = tokens * (_numbers(products_in(tuple(before))) + _numbers([last.attention.qkv])) + behind
    kv = 2 * tokens * config.layers * config.kv_heads * config.head_dim * item
    read = len(chunks) * (weight_bytes(model) - behind * item) + behind * item
    return Work(read + kv, 2 * numbers + 4 * pairs * config.heads * config.head_dim)


def mean_work(works: Sequence[Work]) -> Work:
    """Of an iteration, over several."""
    return Work(sum(work.bytes for work in works) // len(works), sum(work.flops for work in works) // len(works))


def weight_bytes(model: LoadedModel) -> int:
    """Of all that a step reads of them: products and norms; tables of positions and biases are too
    small to count.
    """
    norms = sum(piece.nbytes for piece in pieces(model.parts.layers) if isinstance(piece, Tensor))
    return _of_a_token(model) * model.dtype.itemsize + norms


def _of_a_token(model: LoadedModel) -> int:
    """Numbers of all products that one token goes through."""
    return _numbers(products_in(model.parts))


def _behind_attention(layer: Layer) -> list[Linear]:
    return [product for product in products_in(layer) if product is not layer.attention.qkv]


def _numbers(products: Iterable[Linear]) -> int:
    return sum(product.out_features * product.in_features for product in products)


def _seen(context: int, window: int | None) -> int:
    return context if window is None else min(context, window)
