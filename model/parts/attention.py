"""Attention over the paged pool: where the rows of an iteration look at what was before them.

Owns `Attention`, and what may happen to queries and keys between their product and their turning.
It does not know what a layer does with the result; `layer.py` does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, Self

from torch import Tensor

from ...kernels.dispatch import Kernels
from ...kernels.ragged_attention import AttentionShape
from .linear import Linear
from .norm import Norm
from .reader import Reader
from .share import Joining, all_of
from .step import Step


class QueryKeyNorm(Protocol):
    """What happens to queries and keys before they are turned."""

    def of_(self, kernels: Kernels, qkv: Tensor) -> None:
        """Change qkv[n, q heads | k heads | v heads, head_dim] in place."""
        ...


@dataclass(frozen=True, slots=True)
class AsProjected:
    """Nothing happens to them."""

    @classmethod
    def read(cls, reader: Reader, i: int) -> Self:
        """There is nothing to read."""
        return cls()

    def of_(self, kernels: Kernels, qkv: Tensor) -> None:
        """As the port says."""


@dataclass(frozen=True, slots=True)
class EachHead:
    """Each head is normed by itself (Qwen 3, Gemma 3)."""

    heads: int
    kv_heads: int
    query: Norm
    key: Norm

    @classmethod
    def read(cls, reader: Reader, i: int) -> Self:
        """Two norms of the size of a head."""
        config, names = reader.config, reader.config.architecture.tensors
        query = reader.norm(names.query_norm, i, width=config.head_dim)
        key = reader.norm(names.key_norm, i, width=config.head_dim)
        return cls(reader.share(config.heads).size, reader.share(config.kv_heads).size, query, key)

    def of_(self, kernels: Kernels, qkv: Tensor) -> None:
        """As the port says."""
        queries, keys = qkv[:, : self.heads], qkv[:, self.heads : self.heads + self.kv_heads]
        for heads, norm in ((queries, self.query), (keys, self.key)):
            heads.copy_(norm.of(kernels, heads.reshape(-1, qkv.shape[2])).view(heads.shape))


@dataclass(frozen=True, slots=True)
class AllHeads:
    """All queries of a row are normed as one, and so are its keys (OLMo 2)."""

    heads: int
    kv_heads: int
    query: Norm
    key: Norm
    queries: Joining
    keys: Joining

    @classmethod
    def read(cls, reader: Reader, i: int) -> Self:
        """Two norms, as wide as all heads together."""
        config, names = reader.config, reader.config.architecture.tensors
        heads, kv_heads = reader.share(config.heads), reader.share(config.kv_heads)
        return cls(
            heads=heads.size,
            kv_heads=kv_heads.size,
            query=reader.norm(names.query_norm, i, width=config.heads * config.head_dim),
            key=reader.norm(names.key_norm, i, width=config.kv_heads * config.head_dim),
            queries=reader.joining(heads * config.head_dim),
            keys=reader.joining(kv_heads * config.head_dim),
        )

    def of_(self, kernels: Kernels, qkv: Tensor) -> None:
        """As the port says."""
        queries, keys = qkv[:, : self.heads], qkv[:, self.heads : self.heads + self.kv_heads]
        for heads, norm, rows in ((queries, self.query, self.queries), (keys, self.key, self.keys)):
            # A row's heads lie side by side, yet apart from the next row's: kernels want them whole.
            whole = rows.whole(heads.flatten(1).contiguous())
            heads.copy_(rows.own(norm.of(kernels, whole)).view(heads.shape))


@dataclass(frozen=True, slots=True)
class Attention:
    """Softmax attention of one layer. `index` is the layer in the pool, `rope` the one of
    `Step.angles` that turns its heads; `qkv` gives [q heads | k heads | v heads] * head_dim.
    """

    index: int
    shape: AttentionShape
    head_dim: int
    rope: int
    qkv: Linear
    query_key_norm: QueryKeyNorm
    out: Linear

    @classmethod
    def read(cls, reader: Reader, i: int) -> Self:
        """Layer i's."""
        config, names = reader.config, reader.config.architecture.tensors
        layer, heads, kv_heads = config.attention[i], reader.share(config.heads), reader.share(config.kv_heads)
        queries, keys = heads * config.head_dim, kv_heads * config.head_dim
        stream = all_of(config.hidden)
        return cls(
            index=reader.place(i),
            shape=AttentionShape(heads.size, layer.scale, layer.window, config.attention_softcap),
            head_dim=config.head_dim,
            rope=layer.rope,
            qkv=reader.linear(names.of_qkv, (queries, keys, keys), stream, i, bias=config.qkv_bias),
            query_key_norm=reader.part(config.parts.query_key_norm).read(reader, i),
            out=reader.linear((names.attention_out,), (stream,), queries, i, bias=config.out_bias),
        )

    def mix(self, x: Tensor, step: Step) -> None:
        """Fill `step.mixed` with the attention of all rows of x[n, hidden], after their keys and
        values are in the pages.
        """
        kernels = step.kernels
        qkv = self.qkv(x).view(step.mixed.shape[0], -1, self.head_dim)
        self.query_key_norm.of_(kernels, qkv)
        cos, sin = step.angles[self.rope]
        kernels.rotate_and_write(step.kv, self.index, qkv, cos, sin, step.iteration)
        kernels.attend(step.kv, self.index, self.shape, step.iteration, qkv[:, : self.shape.heads], step.mixed)
