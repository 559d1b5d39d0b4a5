"""Copies pages between the device pool and the host pool while the model computes.

Owns the copies and their tickets: a move is started, goes on beside the forward pass, and its id is
answered once by `landed` when every byte is there. It does not decide what moves and never reuses a
page: the ledger keeps both ends of a move until it has landed.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import numpy as np
import torch

from ...core.errors import ExecutorLost, InvariantViolation
from ...core.ids import MoveId
from ...core.plan import Direction, Int32s, Move
from .pool import PagePools, page_bytes_view


class Mover(Protocol):
    """What the executor needs of a mover; all methods are called from one thread."""

    def start(self, move: Move) -> None:
        """Begin a copy, behind everything that the device has been given so far. Raises
        InvariantViolation for a slot outside of its pool.
        """
        ...

    def landed(self) -> tuple[MoveId, ...]:
        """Moves of the current generation that were completed since the last call. Raises
        ExecutorLost when a copy failed.
        """
        ...

    def wait_one(self, timeout_ns: int | None) -> bool:
        """Wait until a move is complete but not yet answered, at most `timeout_ns` (None: for
        ever); false on time-out or with none in flight.
        """
        ...

    @property
    def in_flight(self) -> int:
        """Moves of the current generation that were started and not yet answered."""
        ...

    def void(self) -> None:
        """A new generation begins: moves in flight finish but are never answered. Returns when
        their copies are over.
        """
        ...

    def close(self) -> None:
        """Finish the copies in flight and give everything back; idempotent."""
        ...


def mover_for(pools: PagePools) -> Mover:
    """Streams on CUDA, a thread on the CPU."""
    if pools.device.device.type == "cuda":
        return StreamMover(pools)
    mover = ThreadMover(pools)
    mover.launch()
    return mover


def check_slots(move: Move, pools: PagePools) -> None:
    """Raise InvariantViolation unless every page and host slot of `move` exists and none is named
    twice.
    """
    for slots, pool, size in (
        (move.pages, "device", pools.shape.num_pages),
        (move.host_slots, "host", pools.shape.num_host_pages),
    ):
        if len(slots) == 0 or len(slots) != len(move.pages):
            raise InvariantViolation(
                f"Move {move.move_id} names {len(move.pages)} pages and {len(move.host_slots)} host slots."
            )
        if int(slots.min()) < 0 or int(slots.max()) >= size:
            raise InvariantViolation(f"Move {move.move_id} names a slot outside of the {pool} pool of {size}.")
        if len(np.unique(slots)) != len(slots):
            raise InvariantViolation(f"Move {move.move_id} names a slot of the {pool} pool twice.")


def runs(sources: Int32s, targets: Int32s) -> Iterator[tuple[int, int, int]]:
    """(first source, first target, length) of each stretch that is contiguous on both sides: one
    large copy instead of many small.
    """
    breaks = np.flatnonzero((np.diff(sources) != 1) | (np.diff(targets) != 1)) + 1
    bounds = [0, *breaks.tolist(), len(sources)]
    for begin, end in pairwise(bounds):
        yield int(sources[begin]), int(targets[begin]), end - begin


@dataclass(frozen=True, slots=True)
class _Ticket:
    generation: int
    move: Move


class ThreadMover:
    """The mover of the CPU: one thread that copies moves in the order they were started.

    `launch` starts the thread; a test that wants to act between the start of a move and its copy
    launches later.
    """

    def __init__(self, pools: PagePools) -> None:
        self._pools = pools
        # numpy copies without the interpreter lock and, unlike torch, without a thread team of its
        # own beside the forward pass.
        self._device = page_bytes_view(pools.device).numpy()
        self._host = page_bytes_view(pools.host).numpy()
        self._generation = 0
        self._in_flight = 0
        self._todo: queue.SimpleQueue[_Ticket | None] = queue.SimpleQueue()
        self._changed = threading.Condition()
        self._done: list[_Ticket] = []
        self._unfinished = 0
        self._failure: BaseException | None = None
        self._thread: threading.Thread | None = None

    def launch(self) -> None:
        """Start the copying thread."""
        self._thread = threading.Thread(target=self._run, name="skipjoin-mover", daemon=True)
        self._thread.start()

    @property
    def in_flight(self) -> int:
        return self._in_flight

    def start(self, move: Move) -> None:
        check_slots(move, self._pools)
        with self._changed:
            self._unfinished += 1
        self._in_flight += 1
        self._todo.put(_Ticket(self._generation, move))

    def landed(self) -> tuple[MoveId, ...]:
        self._raise_failure()
        if not self._in_flight:
            return ()  # which most iterations hear: not worth a lock
        with self._changed:
            self._raise_failure()
            done, self._done = self._done, []
        ids = tuple(ticket.move.move_id for ticket in done if ticket.generation == self._generation)
        self._in_flight -= len(ids)
        return ids

    def wait_one(self, timeout_ns: int | None) -> bool:
        if self._in_flight == 0:
            return False
        with self._changed:
            self._changed.wait_for(self._something_to_say, None if timeout_ns is None else timeout_ns / 1e9)
            self._raise_failure()
            return bool(self._done)

    def void(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._unfinished == 0 or self._failure is not None)
            self._done.clear()
        self._generation += 1
        self._in_flight = 0

    def close(self) -> None:
        if self._thread is not None:
            self._todo.put(None)
            self._thread.join()
            self._thread = None

    def _something_to_say(self) -> bool:
        return bool(self._done) or self._failure is not None

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise ExecutorLost("Copying KV between device and host failed.") from self._failure

    def _run(self) -> None:
        while (ticket := self._todo.get()) is not None:
            try:
                self._copy(ticket.move)
            except Exception as error:  # noqa: BLE001 - the thread must not die unheard: `landed` raises it
                with self._changed:
                    self._failure = error
                    self._changed.notify_all()
                return
            with self._changed:
                self._unfinished -= 1
                self._done.append(ticket)
                self._changed.notify_all()

    def _copy(self, move: Move) -> None:
        if move.direction is Direction.OUT:
            for page, slot, length in runs(move.pages, move.host_slots):
                np.copyto(self._host[slot : slot + length], self._device[page : page + length])
        else:
            for slot, page, length in runs(move.host_slots, move.pages):
                np.copyto(self._device[page : page + length], self._host[slot : slot + length])


class StreamMover:
    """The mover of CUDA: one stream out, one stream in, and a fence behind the copies of each move."""

    def __init__(self, pools: PagePools) -> None:
        self._pools = pools
        self._device = page_bytes_view(pools.device)
        self._host = page_bytes_view(pools.host)
        self._streams = {direction: torch.cuda.Stream(pools.device.device) for direction in Direction}
        self._fences: dict[MoveId, torch.cuda.Event] = {}

    @property
    def in_flight(self) -> int:
        return len(self._fences)

    def start(self, move: Move) -> None:
        check_slots(move, self._pools)
        stream = self._streams[move.direction]
        with _a_failure_is_the_executors():
            self._enqueue(move, stream)

    def _enqueue(self, move: Move, stream: torch.cuda.Stream) -> None:
        # The last launched forward pass may still write the pages that leave, or read those that
        # are overwritten.
        stream.wait_stream(torch.cuda.current_stream(self._pools.device.device))
        with torch.cuda.stream(stream):
            if move.direction is Direction.OUT:
                for page, slot, length in runs(move.pages, move.host_slots):
                    self._host[slot : slot + length].copy_(self._device[page : page + length], non_blocking=True)
            else:
                for slot, page, length in runs(move.host_slots, move.pages):
                    self._device[page : page + length].copy_(self._host[slot : slot + length], non_blocking=True)
            # Recorded after the copies are enqueued: recorded before them it would say "done" at
            # once.
            fence = torch.cuda.Event()
            fence.record(stream)
        self._fences[move.move_id] = fence

    def landed(self) -> tuple[MoveId, ...]:
        with _a_failure_is_the_executors():
            done = tuple(move_id for move_id, fence in self._fences.items() if fence.query())
        for move_id in done:
            del self._fences[move_id]
        return done

    def wait_one(self, timeout_ns: int | None) -> bool:
        if not self._fences:
            return False
        with _a_failure_is_the_executors():
            if any(fence.query() for fence in self._fences.values()):
                return True
            if timeout_ns == 0:
                return False
            # CUDA has no wait with a time-out; the oldest copy of a stream is bounded by the link,
            # some milliseconds.
            next(iter(self._fences.values())).synchronize()
        return True

    def void(self) -> None:
        with _a_failure_is_the_executors():
            for fence in self._fences.values():
                fence.synchronize()
        self._fences.clear()

    def close(self) -> None:
        self.void()


@contextmanager
def _a_failure_is_the_executors() -> Iterator[None]:
    """CUDA tells of a failure at whatever is asked next."""
    try:
        yield
    except RuntimeError as error:
        raise ExecutorLost("Copying KV between device and host failed.") from error
