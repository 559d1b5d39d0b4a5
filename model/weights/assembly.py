"""From the tensors of a folder to the parts of a decoder.

Owns the reader that parts ask while they are read, whether the head is the embedding, how several
tensors become one product, and the refusal of tensors that nobody used: they mean another model
than config.json says. Which tensors there are it learns from the parts. loading calls it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from ...core.errors import InvalidModel
from ...kernels.linear import DenseLinear
from ..architectures import Part
from ..config import ModelConfig
from ..parts.collectives import Collectives
from ..parts.linear import Linear
from ..parts.norm import AsItIs, Norm
from ..parts.sharded import DividedTable, Gathered, Joined, Summed, WholeTable
from ..parts.share import Alone, Joining, Share, all_of, divided, padded
from ..parts.table import Table
from ..stage import Stage, whole_model
from .cut import Cut, cut_to
from .listening import Listening
from .loaded import DecoderParts, Ends

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

    def read(self, name: str, shape: tuple[int, ...], cut: Cut | None = None) -> Tensor:
        """The tensor on the CPU, or what a cut leaves of it. Raises InvalidModel when it is missing
        or has another shape.
        """
        ...


class Assembler:
    """Lets the parts that a config names read themselves, tensor by tensor, and remembers what they
    used: the `Reader` of a folder. Raises InvalidModel naming the tensor.

    `remarks` are sentences for a person about what was assembled.
    """

    def __init__(
        self,
        config: ModelConfig,
        checkpoint: TensorSource,
        device: torch.device,
        dtype: torch.dtype,
        progress: Callable[[int], None] = lambda numbers: None,
        product: Callable[[Tensor, Tensor | None], Linear] = DenseLinear,
        collectives: Collectives | None = None,
        stage: Stage | None = None,
    ) -> None:
        """`progress` hears how many numbers more have been read; `product` makes a product of a
        weight[out, in] and a bias. `collectives`: of the ranks that share the model; only this
        one's share of it is read. `stage`: nothing beside it is read; None: all layers and
        both ends.
        """
        self.config = config
        self.dtype = dtype
        self._family = config.architecture
        self._names = config.architecture.tensors
        self._checkpoint = checkpoint
        self._device = device
        self._progress = progress
        self._product = product
        self._collectives = collectives
        self.stage = whole_model(config) if stage is None else stage
        self._used: set[str] = set()
        self.remarks: list[str] = []
        self._stored = self._stored_names()

    @property
    def numbers(self) -> int:
        """Numbers in all tensors that are served: of several ranks, about those of one."""
        ranks = 1 if self._collectives is None else self._collectives.ranks
        here = self._stored.keys() & self._asked(self.stage) if self._is_part else self._stored.keys()
        return sum(self._checkpoint.numbers(self._stored[name]) for name in here) // ranks

    def assemble(self) -> DecoderParts:
        """All parts, on the device."""
        self._refuse_more_ranks_than_shares()
        parts, embedding, ends = self.config.parts, None, None
        if self.stage.has_ends:
            self._table, self._head = self._embedding_and_head()
            embedding = self.part(parts.embedding).read(self)
        layer = self.part(parts.layer)
        layers = tuple(layer.read(self, i) for i in self.stage.layers)
        if embedding is not None:
            ends = Ends(embedding, layer.last_norm(self), self.part(parts.head).read(self))
        self._refuse_unknown()
        return DecoderParts(ends, layers)

    def part(self, part: Part) -> Any:
        """The class that a row names. Raises InvalidModel where there is none."""
        return part.load()

    def share(self, whole: int) -> Share:
        """This rank's share of so many heads or columns."""
        if self._collectives is None:
            return all_of(whole)
        try:
            return divided(whole, self._collectives.rank, self._collectives.ranks)
        except ValueError:
            raise self._not_divided(whole, self._collectives.ranks) from None

    def _refuse_more_ranks_than_shares(self) -> None:
        """Key-value heads may be held by several ranks. Of query heads or columns that are, a sum
        over all ranks would count each several times.
        """
        ranks = 1 if self._collectives is None else self._collectives.ranks
        for whole in (self.config.heads, self.config.intermediate):
            if 1 < whole < ranks:
                raise self._not_divided(whole, ranks)

    def _not_divided(self, whole: int, ranks: int) -> InvalidModel:
        return InvalidModel(
            f"The heads or columns of this model, {whole}, cannot be divided among {ranks} ranks.",
            field="tensor_parallel",
            limit=f"a number that divides {whole}",
        )

    def joining(self, share: Share) -> Joining:
        """How the shares of all ranks come together to whole rows."""
        return Alone() if self._collectives is None else Joined(share, self._collectives)

    def place(self, i: int) -> int:
        """Layer i's place among those of the stage."""
        return self.stage.layers.index(i)

    def embedding(self) -> Table:
        """A row of `embedding_width` for each token."""
        if self._collectives is None:
            return WholeTable(self._table)
        return DividedTable(self._table, self._tokens, self._collectives)

    def head(self) -> Linear:
        """width -> vocab."""
        product = self._product(self._head, None)
        if self._collectives is None:
            return product
        return Gathered(product, self._collectives, self.config.vocab_size)

    def norm(self, name: str | None, i: int = 0, *, width: int | None = None) -> Norm:
        """A norm of the family's kind; None: the one that does nothing."""
        if name is None:
            return AsItIs()
        width = self.config.hidden if width is None else width
        norm: Norm = self.part(self.config.parts.norm).read(self, name.format(i=i), width, self.config.norm_eps)
        return norm

    def linear(
        self, names: Sequence[str], outputs: Sequence[Share], inputs: Share, i: int = 0, *, bias: bool = False
    ) -> Linear:
        """One product of tensors that share their input."""
        weights, biases = [], []
        for name, shares in zip(names, [outputs] if len(names) == 1 else [(share,) for share in outputs], strict=True):
            name = name.format(i=i)
            weights.append(self._weight(f"{name}.weight", shares, inputs))
            if bias:
                whole = (sum(share.whole for share in shares),)
                biases.append(self.tensor(f"{name}.bias", whole, cut=cut_to(shares, 0)))
        # A single tensor is laid out as it lies in the file: a copy before that would be one for
        # nothing.
        weight = weights[0] if len(weights) == 1 else torch.cat(weights)
        added = torch.cat(biases) if bias else None
        if inputs.is_whole or self._collectives is None:
            return self._product(weight, added)
        return Summed(self._product(weight, added if self._collectives.rank == 0 else None), self._collectives)

    def _weight(self, name: str, outputs: Sequence[Share], inputs: Share) -> Tensor:
        """[out, in], this rank's part."""
        dimension = 1 if self._family.transposed else 0
        whole = [sum(share.whole for share in outputs), inputs.whole]
        cut = cut_to(outputs, dimension) if inputs.is_whole else cut_to((inputs,), 1 - dimension)
        if self._family.transposed:
            return self.tensor(name, (whole[1], whole[0]), cut=cut).t()
        return self.tensor(name, (whole[0], whole[1]), cut=cut)

    def tensor(self, name: str, shape: tuple[int, ...], *, wide: bool = False, cut: Cut | None = None) -> Tensor:
        """On the device, in the precision that is served; `wide`: in no less than float32. `cut`:
        only what it leaves is read.
        """
        self._used.add(name)
        stored = self._stored.get(name, name)
        tensor = self._checkpoint.read(stored, shape) if cut is None else self._checkpoint.read(stored, shape, cut)
        dtype = torch.float32 if wide and self.dtype.itemsize == 2 else self.dtype
        served = tensor.to(device=self._device, dtype=dtype)
        # In pieces: where the file is mapped, looking at a piece is what reads it from the disk.
        for piece in _pieces(served):
            if not _is_finite(piece):
                raise _not_finite(stored, tensor, served)
            self._progress(piece.numel())
        return served

    def _embedding_and_head(self) -> tuple[Tensor, Tensor]:
        """Both [vocab, width], or this rank's rows of it: one tensor where config.json says so and
        the file does not contradict, as in Transformers.
        """
        shape = (self.config.vocab_size, self.config.embedding_width)
        embedding_name, head_name = f"{self._names.embedding}.weight", f"{self._names.head}.weight"
        stored = self._stored
        if not self.config.tied_embeddings:
            if head_name not in stored and embedding_name in stored:
                raise InvalidModel(
                    f"The weights lack the tensor {head_name}. Where the embedding is the head as well, set "
                    "tie_word_embeddings to true in "
                    "config.json; otherwise download the weights again.",
                    field=head_name,
                )
            return self._rows(embedding_name, shape), self._rows(head_name, shape)
        if head_name not in stored:
            embedding = self._rows(embedding_name, shape)
            return embedding, embedding
        head = self._rows(head_name, shape)
        if embedding_name not in stored:
            return head, head
        embedding = self._rows(embedding_name, shape)
        if embedding.is_meta or torch.equal(embedding, head):
            return embedding, embedding
        self.remarks.append(
            "config.json says that the embedding is the head (tie_word_embeddings), yet the weights hold another "
            f"{stored[head_name][:200]}: "
            "that one is the head, as in Transformers. Set tie_word_embeddings to false."
        )
        return embedding, head

    def _rows(self, name: str, shape: tuple[int, int]) -> Tensor:
        """The rows of this rank's tokens; behind the last token they are zeros, so that all ranks
        have as many.
        """
        if self._collectives is None:
            return self.tensor(name, shape)
        share = self._tokens
        there = self.tensor(name, shape, cut=cut_to((share,), 0))
        missing = share.size - len(there)
        return torch.cat([there, there.new_zeros(missing, shape[1])]) if missing else there

    @property
    def _tokens(self) -> Share:
        """The tokens of this rank."""
        assert self._collectives is not None
        return padded(self.config.vocab_size, self._collectives.rank, self._collectives.ranks)

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

    @property
    def _is_part(self) -> bool:
        """Whether other stages have what this one leaves."""
        return self.stage != whole_model(self.config)

    def _asked(self, stage: Stage) -> frozenset[str]:
        """The tensors that a stage reads, by what the row calls them."""
        listening = Listening()
        Assembler(self.config, listening, torch.device("meta"), self.dtype, stage=stage).assemble()
        # A head that is the embedding is read where the file has it.
        tied = {f"{name}.weight" for name in (self._names.embedding, self._names.head) if stage.has_ends}
        return frozenset(listening.shapes.keys() | tied)

    def _refuse_unknown(self) -> None:
        known = self._used | self._asked(whole_model(self.config)) if self._is_part else self._used
        unknown = sorted(name for wanted, name in self._stored.items() if wanted not in known)
        if unknown:
            and_more = f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""
            raise InvalidModel(
                f"config.json does not explain the tensor {unknown[0][:200]}{and_more} in the weights. Take the "
                "one that belongs to them.",
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
        said = (
            "numbers that are not finite: it is damaged, or its training failed. Download it again or take "
            "another model"
        )
    else:
        said = f"numbers beyond those of {str(served.dtype).removeprefix('torch.')}. Take bfloat16 or float32"
    return InvalidModel(f"The tensor {name[:200]} holds {said}.", field=name[:200])
