"""Parts that are computed on all ranks, each on its share.

Owns a product whose inputs are divided, one whose outputs are gathered, and a table whose rows are
divided. A product whose outputs stay divided needs nothing of the kind: it is a smaller product.
They know no rank's process; `Collectives` is how they meet.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import embedding

from .collectives import Collectives
from .linear import Linear
from .share import Share


@dataclass(frozen=True, slots=True)
class Summed:
    """Each rank multiplies its share of the inputs; the sum is everybody's. A bias is rank 0's
    alone.
    """

    product: Linear
    collectives: Collectives

    @property
    def in_features(self) -> int:
        """This rank's."""
        return self.product.in_features

    @property
    def out_features(self) -> int:
        """All."""
        return self.product.out_features

    @property
    def dtype(self) -> torch.dtype:
        """As the product's."""
        return self.product.dtype

    def warm_up(self, rows: int) -> None:
        """As the port says; the other ranks are not needed for it."""
        self.product.warm_up(rows)

    def __call__(self, x: Tensor) -> Tensor:
        """[n, this rank's inputs] -> [n, out]."""
        return self.collectives.sum_(self.product(x))


@dataclass(frozen=True, slots=True)
class Gathered:
    """Each rank computes its share of the outputs; everybody has all `width` of them."""

    product: Linear
    collectives: Collectives
    width: int

    @property
    def in_features(self) -> int:
        """All."""
        return self.product.in_features

    @property
    def out_features(self) -> int:
        """All."""
        return self.width

    @property
    def dtype(self) -> torch.dtype:
        """As the product's."""
        return self.product.dtype

    def warm_up(self, rows: int) -> None:
        """As the port says; the other ranks are not needed for it."""
        self.product.warm_up(rows)

    def __call__(self, x: Tensor) -> Tensor:
        """[n, in] -> [n, width]; shares reach beyond the end where they do not come out even."""
        return self.collectives.gather(self.product(x))[:, : self.width]


@dataclass(frozen=True, slots=True)
class Joined:
    """Every rank has a share of each row; a share that several ranks hold counts once."""

    share: Share
    collectives: Collectives

    def whole(self, own: Tensor) -> Tensor:
        """[n, this rank's] -> [n, all]."""
        ranks, size = self.collectives.ranks, self.share.size
        holders = ranks * size // self.share.whole
        every = self.collectives.gather(own).view(len(own), ranks, size)
        return every[:, ::holders].flatten(1).contiguous()

    def own(self, whole: Tensor) -> Tensor:
        """[n, all] -> [n, this rank's]."""
        return whole[:, self.share.start : self.share.start + self.share.size]


@dataclass(frozen=True, slots=True)
class WholeTable:
    """A row for each token."""

    rows: Tensor

    def of(self, tokens: Tensor) -> Tensor:
        """[n, width] for int64[n] tokens."""
        return embedding(tokens, self.rows)


@dataclass(frozen=True, slots=True)
class DividedTable:
    """Each rank has a row for each token of its share; the others add nothing for it."""

    rows: Tensor
    share: Share
    collectives: Collectives

    def of(self, tokens: Tensor) -> Tensor:
        """[n, width] for int64[n] tokens."""
        own = tokens - self.share.start
        there = (own >= 0) & (own < self.share.size)
        found = embedding(torch.where(there, own, 0), self.rows)
        return self.collectives.sum_(found.masked_fill_(~there[:, None], 0))
