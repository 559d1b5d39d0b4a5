"""The sampler on a CPU, through the compiled function.

Owns the checks in front of the call, the scratch of its threads and the choice between one thread
and all of them. It knows neither jobs nor what stops them. `dispatch` takes `sample` from here;
what it computes is stated at its reference.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..sampling import COLUMNS, SamplingColumns
from .library import Library

_ALONE = 2**19
"""Logits up to which one thread works alone, about a millisecond: waiting for a second one has no
bound on a busy machine.
"""


class NativeSampler:
    """Samples over one library; one call at a time, for its scratch is kept."""

    def __init__(self, library: Library, dtype: torch.dtype) -> None:
        self._library = library
        self._dtype = dtype
        self._scratch = torch.empty(0, dtype=torch.float64)
        self._scratch_for = (0, 0)
        self._seen: SamplingColumns | None = None
        self._rows = -1
        self._pointers: list[int] = []

    def sample(
        self, logits: Tensor, columns: SamplingColumns, output: Tensor | None = None, anywhere: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """As the reference."""
        rows, vocab = logits.shape
        stride, between = logits.stride()
        assert logits.dtype is self._dtype and between == 1 and vocab
        if columns is not self._seen or rows != self._rows:
            self._look_at(columns, rows)
        assert (output is None) == (anywhere is None)
        if output is not None and anywhere is not None:
            assert output.dtype is torch.int32 and anywhere.dtype is torch.bool
            for counts in (output, anywhere):
                assert counts.shape == logits.shape and counts.is_contiguous()
        threads = 1 if rows * vocab <= _ALONE else min(torch.get_num_threads(), rows)
        if self._scratch_for != (threads, vocab):
            self._scratch = torch.empty(threads * self._library.sample_scratch(vocab), dtype=torch.float64)
            self._scratch_for = (threads, vocab)
        tokens, finite = logits.new_empty(rows, dtype=torch.int64), logits.new_empty(rows, dtype=torch.bool)
        self._library.sample(
            logits.data_ptr(), rows, vocab, stride, *self._pointers,
            None if output is None else output.data_ptr(), None if anywhere is None else anywhere.data_ptr(),
            self._scratch.data_ptr(), tokens.data_ptr(), finite.data_ptr(), threads,
        )  # fmt: skip
        return tokens, finite

    def _look_at(self, columns: SamplingColumns, rows: int) -> None:
        """Where the columns lie. It holds while they are the same, which are held: their memory is
        nobody else's.
        """
        tensors: list[Tensor] = [getattr(columns, name) for name in COLUMNS]
        assert all(len(column) == rows and column.is_contiguous() and column.itemsize == 8 for column in tensors)
        self._seen, self._rows = columns, rows
        self._pointers = [column.data_ptr() for column in tensors]
