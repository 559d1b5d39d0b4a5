"""One iteration, decided: what runs, what moves, what is dropped.

Owns `IterationPlan` and its parts, frozen values that anyone can carry out, print, record or
replay. It does not know why a job was chosen nor how a batch is computed. kvstore/planning makes
plans, engine/turn hands them to an Executor, executors and the simulator obey.

Rules an executor may rely on:
* ranks never allocate: a page id names one slot of `page_tokens` tokens, the same on every rank;
* an `Admit` precedes everything else about its handle and resets it (again after recompute,
  takeover or a lost executor);
* tables first (whole), then `new_pages` (appended in column order), then the batch;
* within one plan no page is written by the batch and touched by a move, nor read by it and filled
  by one, nor touched by two moves (a full block may be copied out while its job runs);
* the order of the outcome's tokens is: decode handles in batch order, then every prefill chunk with
  `last`, in plan order.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .asked import Asked
from .ids import Handle, MoveId

Int32s = NDArray[np.int32]
Int64s = NDArray[np.int64]

NO_INT32: Int32s = np.zeros(0, dtype=np.int32)
NO_INT64: Int64s = np.zeros(0, dtype=np.int64)
for _empty in (NO_INT32, NO_INT64):
    _empty.setflags(write=False)


def no_int32() -> Int32s:
    """The shared empty int32 column, as a field default."""
    return NO_INT32


def no_int64() -> Int64s:
    """The shared empty int64 column, as a field default."""
    return NO_INT64


class Admit(NamedTuple):
    """A job enters the executor: all known tokens (int32[known]: the prompt, then what was
    generated) and what was asked.

    No KV is cached for it: `computed` starts at 0 whatever the executor knew before. `tokens` may
    be empty in the simulator only, where `known_tokens` says how many there are.
    """

    handle: Handle
    tokens: Int32s
    known_tokens: int
    prompt_tokens: int
    asked: Asked
    seed: int


@dataclass(frozen=True, slots=True, eq=False)
class DecodeBatch:
    """The decode members of an iteration: int64[n] handles; each computes its last known token and
    emits one.

    The same object in two plans means the same members in the same order: executors keep their
    batch tensors then.
    """

    handles: Int64s = field(default_factory=no_int64)

    def __len__(self) -> int:
        return len(self.handles)


NO_DECODE = DecodeBatch()


class PrefillChunk(NamedTuple):
    """Tokens [start, start + length) of a job's known tokens; `last` when it reaches the end, and
    then a token is sampled.
    """

    handle: Handle
    start: int
    length: int
    last: bool


@dataclass(frozen=True, slots=True, eq=False)
class PageAppends:
    """Growth of block tables in columns: page `pages[i]` is appended to the table of `handles[i]`,
    in order.
    """

    handles: Int64s = field(default_factory=no_int64)
    pages: Int32s = field(default_factory=no_int32)


NO_APPENDS = PageAppends()


class BlockTable(NamedTuple):
    """The whole table of a handle: int32[pages], in token order; replaces what the executor had."""

    handle: Handle
    pages: Int32s


class Direction(Enum):
    """Which way KV moves."""

    OUT = "out"  # device -> host
    IN = "in"  # host -> device


@dataclass(frozen=True, slots=True, eq=False)
class Move:
    """A copy of whole pages: `pages[i]` <-> `host_slots[i]`, int32[k] each. Lands when its id is in
    an outcome's `landed`.
    """

    move_id: MoveId
    direction: Direction
    handle: Handle
    pages: Int32s
    host_slots: Int32s


@dataclass(frozen=True, slots=True, eq=False)
class IterationPlan:
    """What one iteration does. `generation` is the executor's; a plan or a landed move of another
    generation is void.

    `predicted_ns` is the cost model's time of the batch, None when nothing is computed. `dropped`
    handles are forgotten by the executor after this iteration's predecessor: their pages may
    already belong to others in this plan.
    """

    seq: int
    generation: int
    decode: DecodeBatch = NO_DECODE
    prefills: tuple[PrefillChunk, ...] = ()
    admits: tuple[Admit, ...] = ()
    tables: tuple[BlockTable, ...] = ()
    new_pages: PageAppends = NO_APPENDS
    moves: tuple[Move, ...] = ()
    dropped: tuple[Handle, ...] = ()
    predicted_ns: int | None = None

    @property
    def computes(self) -> bool:
        """Whether the executor has anything to run besides moves."""
        return len(self.decode) > 0 or bool(self.prefills)
