"""What a rank remembers of each job between iterations, in columns.

Owns one row per handle: block table, number of known tokens, the tokens it was admitted with, and
its sampling. It allocates no page and decides nothing: every change comes from a plan. The runner
applies plans to it, batch and sampler read whole columns.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.errors import InvariantViolation
from ..core.ids import Handle
from ..core.plan import Admit, BlockTable, Int32s, Int64s, PageAppends
from ..core.sampling import SamplingParams

_COLUMNS: dict[str, type] = {
    "known": np.int64,
    "table_pages": np.int64,
    "temperature": np.float64,
    "top_k": np.int64,
    "top_p": np.float64,
    "min_p": np.float64,
    "repetition": np.float64,
    "presence": np.float64,
    "frequency": np.float64,
    "seed": np.int64,
    "logprobs": np.int64,
    "greedy": np.bool_,
    "penalised": np.bool_,
}


@dataclass(slots=True)
class Resident:
    """A job as admitted. `history`, int64, is kept only for jobs whose penalties need every token:
    it is counted anew in one piece.
    """

    row: int
    tokens: Int32s
    prompt_tokens: int
    history: array[int] | None


class HandleTable:
    """Rows by handle. `columns[name][row]` are numpy columns; `tables[row]` is the block table.

    Entries of a table behind its pages repeat the row's first page: padding so never leads to a
    neighbour's page.
    """

    def __init__(self, device_pages: int = 2**31 - 1) -> None:
        self._device_pages = device_pages
        self.columns: dict[str, NDArray[Any]] = {name: np.zeros(8, dtype=kind) for name, kind in _COLUMNS.items()}
        self.tables = np.zeros((8, 8), dtype=np.int64)
        self.version = 0
        self._residents: dict[int, Resident] = {}
        self._free = list(range(7, -1, -1))

    def __len__(self) -> int:
        return len(self._residents)

    @property
    def rows(self) -> int:
        """How many rows there is room for; grows."""
        return len(self.tables)

    def resident(self, handle: int) -> Resident:
        """Raises InvariantViolation for a handle that was never admitted or was dropped."""
        found = self._residents.get(handle)
        if found is None:
            raise InvariantViolation(f"The plan names handle {handle}, which was not admitted.")
        return found

    def rows_of(self, handles: Int64s) -> Int64s:
        """int64[n] rows."""
        return np.fromiter(
            (self.resident(handle).row for handle in handles.tolist()), dtype=np.int64, count=len(handles)
        )

    def admit(self, admit: Admit, seed: int) -> None:
        """Begin a job, or begin it anew on the row it has."""
        tokens = np.ascontiguousarray(admit.tokens, dtype=np.int32)
        if len(tokens) != admit.known_tokens or not 0 < admit.prompt_tokens <= len(tokens):
            raise InvariantViolation(
                f"Admit of handle {admit.handle}: {len(tokens)} tokens, {admit.known_tokens} said to be known."
            )
        old = self._residents.get(admit.handle)
        if old is None and not self._free:
            self._grow_rows()
        row = old.row if old is not None else self._free.pop()
        history = array("q", tokens.astype(np.int64).tobytes()) if is_penalised(admit.asked.sampling) else None
        self._residents[admit.handle] = Resident(row, tokens, admit.prompt_tokens, history)
        self.columns["known"][row] = len(tokens)
        self.columns["table_pages"][row] = 0
        self._set_sampling(row, admit.asked.sampling, seed)
        self.version += 1

    def drop(self, handle: Handle) -> None:
        """Forget a job; an unknown handle is one that never came here."""
        found = self._residents.pop(handle, None)
        if found is not None:
            self._free.append(found.row)
            self.version += 1

    def set_table(self, table: BlockTable) -> None:
        """Replace a whole block table."""
        row, pages = self.resident(table.handle).row, len(table.pages)
        self._check_pages(table.pages.tolist())
        self._fit_width(pages)
        if pages:
            self.tables[row, :] = table.pages[0]
            self.tables[row, :pages] = table.pages
        self.columns["table_pages"][row] = pages

    def append_pages(self, appends: PageAppends) -> None:
        """Append pages in column order."""
        lengths = self.columns["table_pages"]
        pages = appends.pages.tolist()
        self._check_pages(pages)
        for handle, page in zip(appends.handles.tolist(), pages, strict=True):
            row = self.resident(handle).row
            length = int(lengths[row])
            if length == self.tables.shape[1]:
                self._fit_width(length + 1)
            if length == 0:
                self.tables[row, :] = page
            self.tables[row, length] = page
            lengths[row] = length + 1

    def _check_pages(self, pages: list[int]) -> None:
        """On CUDA a page outside of the pool would break the device for every job."""
        if pages and not 0 <= min(pages) <= max(pages) < self._device_pages:
            raise InvariantViolation(f"The plan names a page outside of the device pool of {self._device_pages}.")

    def _set_sampling(self, row: int, sampling: SamplingParams, seed: int) -> None:
        columns = self.columns
        columns["temperature"][row] = sampling.temperature
        columns["top_k"][row] = sampling.top_k
        columns["top_p"][row] = sampling.top_p
        columns["min_p"][row] = sampling.min_p
        columns["repetition"][row] = sampling.repetition_penalty
        columns["presence"][row] = sampling.presence_penalty
        columns["frequency"][row] = sampling.frequency_penalty
        columns["seed"][row] = seed
        columns["logprobs"][row] = -1 if sampling.logprobs is None else sampling.logprobs
        columns["greedy"][row] = sampling.greedy
        columns["penalised"][row] = is_penalised(sampling)

    def _grow_rows(self) -> None:
        old = self.rows
        self.columns = {name: np.concatenate([column, np.zeros_like(column)]) for name, column in self.columns.items()}
        self.tables = np.concatenate([self.tables, np.zeros_like(self.tables)])
        self._free = list(range(2 * old - 1, old - 1, -1))

    def _fit_width(self, pages: int) -> None:
        width = self.tables.shape[1]
        if pages > width:
            wider = np.repeat(self.tables[:, :1], max(pages, 2 * width), axis=1)
            wider[:, :width] = self.tables
            self.tables = wider


def is_penalised(sampling: SamplingParams) -> bool:
    """Whether earlier tokens change the logits."""
    return sampling.repetition_penalty != 1.0 or sampling.presence_penalty != 0.0 or sampling.frequency_penalty != 0.0
