"""From the tensors of a folder to the weights of a decoder.

Owns which tensors a config implies, whether the head is the embedding, fusing query, key and value
into one product and gate and up into another, and the refusal of tensors that nobody used: they
mean another model than config.json says. It computes nothing with them. loading calls it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from ...core.errors import InvalidModel
from ...kernels.linear import Linear
from ..architectures import Norm
from ..config import ModelConfig
from .loaded import LayerWeights, ModelWeights, NormWeights

_PIECE_NUMBERS = 1 << 24


class TensorSource(Protocol):
    """Where tensors come from: `checkpoint.Checkpoint`, or what draws them."""

    @property
    def names(self) -> frozenset[str]:
        """Every tensor that is there."""
        ...

    def numbers(self, name: str) -> int:
        """How many numbers it holds."""
        ...

    def read(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """The tensor on the CPU. Raises InvalidModel when it is missing or has another shape."""
        ...


class Assembler:
    """Reads what the config implies, tensor by tensor, and remembers what it has used. Raises
    InvalidModel naming the tensor.

    `remarks` are sentences for a person about what was assembled.
    """

    def __init__(
        self,
        config: ModelConfig,
        checkpoint: TensorSource,
        device: torch.device,
        dtype: torch.dtype,
        progress: Callable[[int], None] = lambda numbers: None,
    ) -> None:
        """`progress` hears how many numbers more have been read."""
        self._config = config
        self._family = config.architecture
        self._names = config.architecture.tensors
        self._checkpoint = checkpoint
        self._device = device
        self._dtype = dtype
        self._progress = progress
        self._used: set[str] = set()
        self.remarks: list[str] = []
        self._stored = self._stored_names()

    @property
    def numbers(self) -> int:
        """Numbers in all tensors that are served."""
        return sum(self._checkpoint.numbers(name) for name in self._stored.values())

    def assemble(self) -> ModelWeights:
        """The weights on the device."""
        config, names = self._config, self._names
        embedding, head = self._embedding_and_head()
        narrow = config.embedding_width != config.hidden
        weights = ModelWeights(
            embedding=embedding,
            positions=self._positions(),
            embedding_in=self._linear([(names.embedding_in, config.hidden)], config.embedding_width)
            if narrow
            else None,
            layers=tuple(self._layer(i) for i in range(config.layers)),
            final_norm=self._norm(names.final_norm) if config.norm_before else None,
            embedding_out=self._linear([(names.embedding_out, config.embedding_width)], config.hidden)
            if narrow
            else None,
            head=Linear(head),
        )
        self._refuse_unknown()
        return weights

    def _embedding_and_head(self) -> tuple[Tensor, Tensor]:
        """Both [vocab, width]: one tensor where config.json says so and the file does not
        contradict, as in Transformers.
        """
        shape = (self._config.vocab_size, self._config.embedding_width)
        embedding_name, head_name = f"{self._names.embedding}.weight", f"{self._names.head}.weight"
        stored = self._stored
        if not self._config.tied_embeddings:
            if head_name not in stored and embedding_name in stored:
                raise InvalidModel(
                    f"The weights lack the tensor {head_name}. Where the embedding is the head as well, set tie_word_embeddings to true in "
                    "config.json; otherwise download the weights again.",
                    field=head_name,
                )
            return self._tensor(embedding_name, shape), self._tensor(head_name, shape)
        if head_name not in stored:
            embedding = self._tensor(embedding_name, shape)
            return embedding, embedding
        head = self._tensor(head_name, shape)
        if embedding_name not in stored:
            return head, head
        embedding = self._tensor(embedding_name, shape)
        if embedding.is_meta or torch.equal(embedding, head):
            return embedding, embedding
        self.remarks.append(
            f"config.json says that the embedding is the head (tie_word_embeddings), yet the weights hold another {stored[head_name][:200]}: "
            "that one is the head, as in Transformers. Set tie_word_embeddings to false."
        )
        return embedding, head

    def _positions(self) -> Tensor | None:
        if self._names.positions is None:
            return None
        offset = self._family.position_offset
        shape = (self._config.max_context_tokens + offset, self._config.hidden)
        return self._tensor(f"{self._names.positions}.weight", shape)[offset:]

    def _layer(self, i: int) -> LayerWeights:
        config, names = self._config, self._names
        queries, keys = config.heads * config.head_dim, config.kv_heads * config.head_dim
        qkv = (
            [(names.query, queries), (names.key, keys), (names.value, keys)]
            if names.qkv is None
            else [(names.qkv, queries + 2 * keys)]
        )
        if names.gate_up is not None:
            gate_up = [(names.gate_up, 2 * config.intermediate)]
        else:
            gate_up = [(name, config.intermediate) for name in (names.gate, names.up) if name is not None]
        return LayerWeights(
            attention_norm=self._norm(names.attention_norm, i),
            qkv=self._linear(qkv, config.hidden, i, bias=config.qkv_bias),
            query_norm=self._head_norm(names.query_norm, i),
            key_norm=self._head_norm(names.key_norm, i),
            attention_out=self._linear([(names.attention_out, config.hidden)], queries, i, bias=config.out_bias),
            after_attention_norm=None
            if names.after_attention_norm is None
            else self._norm(names.after_attention_norm, i),
            mlp_norm=self._norm(names.mlp_norm, i),
            gate_up=self._linear(gate_up, config.hidden, i, bias=config.mlp_bias),
            down=self._linear([(names.down, config.hidden)], config.intermediate, i, bias=config.mlp_bias),
            after_mlp_norm=None if names.after_mlp_norm is None else self._norm(names.after_mlp_norm, i),
        )

    def _norm(self, name: str, i: int = 0) -> NormWeights:
        shape = (self._config.hidden,)
        bias = self._tensor(f"{name}.bias".format(i=i), shape) if self._family.norm is Norm.LAYER else None
        return NormWeights(self._norm_weight(name, shape, i), bias)

    def _head_norm(self, name: str | None, i: int) -> Tensor | None:
        return None if name is None else self._norm_weight(name, (self._config.head_dim,), i)

    def _norm_weight(self, name: str, shape: tuple[int, ...], i: int) -> Tensor:
        name = f"{name}.weight".format(i=i)
        if self._family.norm is not Norm.RMS_OFFSET:
            return self._tensor(name, shape)
        # 1 + w in a half precision would lose most of what w says, so that it stays in float32.
        wide = torch.float32 if self._dtype.itemsize == 2 else self._dtype
        return self._tensor(name, shape, wide) + 1

    def _linear(
        self, parts: Sequence[tuple[str | None, int]], inputs: int, i: int = 0, *, bias: bool = False
    ) -> Linear:
        """One product out of parts (name, outputs) that share their input."""
        weights, biases = [], []
        for name, outputs in parts:
            assert name is not None, "a row names the tensors that its flags imply"
            name = name.format(i=i)
            if self._family.transposed:
                weights.append(self._tensor(f"{name}.weight", (inputs, outputs)).t())
            else:
                weights.append(self._tensor(f"{name}.weight", (outputs, inputs)))
            if bias:
                biases.append(self._tensor(f"{name}.bias", (outputs,)))
        # A single part is laid out as it lies in the file: a copy before that would be one for
        # nothing.
        weight = weights[0] if len(weights) == 1 else torch.cat(weights)
        return Linear(weight, torch.cat(biases) if bias else None)

    def _tensor(self, name: str, shape: tuple[int, ...], dtype: torch.dtype | None = None) -> Tensor:
        self._used.add(name)
        stored = self._stored.get(name, name)
        tensor = self._checkpoint.read(stored, shape)
        served = tensor.to(device=self._device, dtype=self._dtype if dtype is None else dtype)
        # In pieces: where the file is mapped, looking at a piece is what reads it from the disk.
        for piece in _pieces(served):
            if not _is_finite(piece):
                raise _not_finite(stored, tensor, served)
            self._progress(piece.numel())
        return served

    def _stored_names(self) -> dict[str, str]:
        """What a tensor is called in the row -> what it is called in the file, without what nobody
        needs.
        """
        stored: dict[str, str] = {}
        for name in sorted(self._checkpoint.names):
            if name.startswith(self._family.other_parts) or name.endswith(self._family.ignored):
                continue
            renamed = self._renamed(name)
            if renamed in stored:
                raise InvalidModel(f"The tensors {stored[renamed]} and {name} are the same one.", field=name[:200])
            stored[renamed] = name
        return stored

    def _renamed(self, name: str) -> str:
        for found, wanted in self._family.prefixes:
            if name.startswith(found):
                return wanted + name.removeprefix(found)
        return name

    def _refuse_unknown(self) -> None:
        unknown = sorted(name for wanted, name in self._stored.items() if wanted not in self._used)
        if unknown:
            and_more = f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""
            raise InvalidModel(
                f"config.json does not explain the tensor {unknown[0][:200]}{and_more} in the weights. Take the one that belongs to them.",
                field=unknown[0][:200],
            )


def _pieces(tensor: Tensor) -> Sequence[Tensor]:
    """The tensor cut along its first dimension into pieces of some `_PIECE_NUMBERS`."""
    if tensor.numel() <= _PIECE_NUMBERS:
        return (tensor,)
    pieces: Sequence[Tensor] = tensor.split(max(1, len(tensor) * _PIECE_NUMBERS // tensor.numel()))
    return pieces


def _is_finite(tensor: Tensor) -> bool:
    """Whether all numbers are; most tensors say so by their sum, which reads them once and makes no
    other. On `meta` there are none.

    The sum is of the tensor's own dtype: asked for a wider one, torch first copies the whole tensor
    to it on a CPU. Where that overflows, each is looked at.
    """
    return tensor.is_meta or bool(tensor.sum().isfinite()) or bool(tensor.isfinite().all())


def _not_finite(name: str, stored: Tensor, served: Tensor) -> InvalidModel:
    """A model would load with it, and every job fail."""
    if not _is_finite(stored):
        said = "numbers that are not finite: it is damaged, or its training failed. Download it again or take another model"
    else:
        said = f"numbers beyond those of {str(served.dtype).removeprefix('torch.')}. Take bfloat16 or float32"
    return InvalidModel(f"The tensor {name[:200]} holds {said}.", field=name[:200])
