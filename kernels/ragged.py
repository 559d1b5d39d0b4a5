"""Which rows of an iteration belong to which sequence, and where each sequence's pages are.

Owns `RaggedBatch`: decode rows and prefill chunks side by side, each a sequence with its own number
of queries and its own context. It does not know jobs, layers or how a kernel cuts the work. The
attention kernels and their reference read it; whoever builds an iteration's batch makes it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from .bring import Bring


@dataclass(frozen=True, slots=True, eq=False)
class RaggedBatch:
    """`tables` int32 or int64[s, width] on the device; `starts` int64[s + 1] and `contexts`
    int64[s] on the host.

    Sequence i has the query rows [starts[i], starts[i + 1]), which are the last tokens of its
    `contexts[i]`: one row is a decode, several are a prefill chunk, none is a sequence that sits
    out. The first ceil(context / page_tokens) entries of a table are its pages; what lies behind
    them is never read. `bring`: how a kernel set's own arrays of this iteration come to the device;
    None: plainly.
    """

    tables: Tensor
    starts: NDArray[np.int64]
    contexts: NDArray[np.int64]
    bring: Bring | None = None
    counts: NDArray[np.int64] = field(init=False)
    """int64[s]: query rows of each sequence."""

    def __post_init__(self) -> None:
        counts = self.starts[1:] - self.starts[:-1]
        assert len(self.contexts) == len(counts) == self.tables.shape[0], "one table and one context for each sequence"
        object.__setattr__(self, "counts", counts)

    @property
    def rows(self) -> int:
        """Query rows of all sequences."""
        return int(self.starts[-1])

    @property
    def longest(self) -> int:
        """The most rows that one sequence has; 1 when all are decodes."""
        return int(self.counts.max(initial=0))


def pages_of(contexts: NDArray[np.int64], page_tokens: int) -> NDArray[np.int64]:
    """int64[s]: pages that hold so many tokens."""
    return -(-contexts // page_tokens)
