"""The ways in which a layer wires its attention and its MLP to the stream.

The stream is [n, hidden], goes through all layers, and each half of a layer adds to it. Owns the
port `Layer` and its forms. A sum and the norm behind it are one kernel, so that a layer also applies
the norm that follows it: that of the next layer, or the one behind the last.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol, Self

from torch import Tensor

from ...kernels.dispatch import Kernels
from .attention import Attention
from .mlp import Mlp
from .norm import AsItIs, Norm
from .reader import Reader


class Layer(Protocol):
    """One layer. Its rows look at each other in its attention alone, which the decoder calls; what
    is behind attention is `join`.
    """

    reads_entered: ClassVar[bool]
    """Whether `join` reads `entered`; where it does not, that may have rows that nobody wants."""

    @property
    def entry(self) -> Norm:
        """What stands between the stream and attention."""
        ...

    @property
    def attention(self) -> Attention:
        """Gives what `join` gets as `rows`."""
        ...

    @classmethod
    def read(cls, reader: Reader, i: int) -> Self:
        """Layer i."""
        ...

    @classmethod
    def last_norm(cls, reader: Reader) -> Norm:
        """What follows the last of such layers."""
        ...

    def join(
        self, kernels: Kernels, stream: Tensor, entered: Tensor, rows: Tensor, following: Norm
    ) -> tuple[Tensor, Tensor]:
        """The stream behind this layer, and `following` of it. `entered` is what attention got,
        `rows`[n, heads * head_dim] what it gave. `stream` may be written over.
        """
        ...


@dataclass(frozen=True, slots=True)
class PreNorm:
    """A norm in front of each half: x += attention(norm(x)), x += mlp(norm(x))."""

    reads_entered: ClassVar[bool] = False

    entry: Norm
    attention: Attention
    mlp_entry: Norm
    mlp: Mlp

    @classmethod
    def read(cls, reader: Reader, i: int) -> Self:
        """As the port says."""
        names, parts = reader.config.architecture.tensors, reader.config.parts
        return cls(
            entry=reader.norm(names.attention_norm, i),
            attention=reader.part(parts.attention).read(reader, i),
            mlp_entry=reader.norm(names.mlp_norm, i),
            mlp=reader.part(parts.mlp).read(reader, i),
        )

    @classmethod
    def last_norm(cls, reader: Reader) -> Norm:
        """As the port says."""
        return reader.norm(reader.config.architecture.tensors.final_norm)

    def join(
        self, kernels: Kernels, stream: Tensor, entered: Tensor, rows: Tensor, following: Norm
    ) -> tuple[Tensor, Tensor]:
        """As the port says."""
        x = self.mlp_entry.of_sum_(kernels, self.attention.out(rows), stream)
        return stream, following.of_sum_(kernels, self.mlp.of(kernels, x), stream)


@dataclass(frozen=True, slots=True)
class Sandwich:
    """Norms in front of the halves and behind them: x += norm(attention(norm(x))), and the MLP
    likewise (Gemma 2 and 3). A row that names no norm in front has those behind alone.
    """

    reads_entered: ClassVar[bool] = False

    entry: Norm
    attention: Attention
    attention_exit: Norm
    mlp_entry: Norm
    mlp: Mlp
    mlp_exit: Norm

    @classmethod
    def read(cls, reader: Reader, i: int) -> Self:
        """As the port says."""
        names, parts = reader.config.architecture.tensors, reader.config.parts
        return cls(
            entry=reader.norm(names.attention_norm, i),
            attention=reader.part(parts.attention).read(reader, i),
            attention_exit=reader.norm(names.after_attention_norm, i),
            mlp_entry=reader.norm(names.mlp_norm, i),
            mlp=reader.part(parts.mlp).read(reader, i),
            mlp_exit=reader.norm(names.after_mlp_norm, i),
        )

    @classmethod
    def last_norm(cls, reader: Reader) -> Norm:
        """As the port says."""
        return reader.norm(reader.config.architecture.tensors.final_norm)

    def join(
        self, kernels: Kernels, stream: Tensor, entered: Tensor, rows: Tensor, following: Norm
    ) -> tuple[Tensor, Tensor]:
        """As the port says."""
        attended = self.attention_exit.of(kernels, self.attention.out(rows))
        x = self.mlp_entry.of_sum_(kernels, attended, stream)
        computed = self.mlp_exit.of(kernels, self.mlp.of(kernels, x))
        return stream, following.of_sum_(kernels, computed, stream)


@dataclass(frozen=True, slots=True)
class PostNorm:
    """A norm behind each sum: x = norm(x + attention(x)), x = norm(x + mlp(x)), and none at the end
    (OPT 350m, and the first transformers).
    """

    reads_entered: ClassVar[bool] = False

    entry: Norm
    attention: Attention
    attention_norm: Norm
    mlp: Mlp
    mlp_norm: Norm

    @classmethod
    def read(cls, reader: Reader, i: int) -> Self:
        """As the port says."""
        names, parts = reader.config.architecture.tensors, reader.config.parts
        # In the order in which random weights have always been drawn.
        attention_norm = reader.norm(names.attention_norm, i)
        attention = reader.part(parts.attention).read(reader, i)
        mlp_norm = reader.norm(names.mlp_norm, i)
        return cls(AsItIs(), attention, attention_norm, reader.part(parts.mlp).read(reader, i), mlp_norm)

    @classmethod
    def last_norm(cls, reader: Reader) -> Norm:
        """As the port says."""
        return AsItIs()

    def join(
        self, kernels: Kernels, stream: Tensor, entered: Tensor, rows: Tensor, following: Norm
    ) -> tuple[Tensor, Tensor]:
        """As the port says."""
        x = self.attention_norm.of_sum_(kernels, self.attention.out(rows), stream)
        stream = self.mlp_norm.of_sum_(kernels, self.mlp.of(kernels, x), x)
        return stream, following.of(kernels, stream)
