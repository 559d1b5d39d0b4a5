"""Ranks of one executor as threads of the test, over real channels.

Owns the collectives between the threads, the ring of their stages and the start of all ranks. What
decodes, follows and leads is the product's; only torch.distributed is left out, so that a test of
every family takes seconds. tests/process has the ranks as processes.
"""

from __future__ import annotations

import queue
import sys
import threading
from collections.abc import Callable
from contextlib import contextmanager

import torch

from skipjoin.executor.ranks.channel import Channel, ChannelClosed, channel_pair
from skipjoin.executor.ranks.following import follow
from skipjoin.executor.ranks.grid import Seat
from skipjoin.executor.ranks.leading import LeadingExecutor
from skipjoin.executor.runner import TorchExecutor
from skipjoin.model.weights.loading import load_model

PATIENCE_S = 30.0


class Meeting:
    """Where the threads of some ranks hand each other tensors."""

    def __init__(self, ranks: int) -> None:
        self.ranks = ranks
        self.shown: list[torch.Tensor | None] = [None] * ranks
        self.barrier = threading.Barrier(ranks)

    def all_shown(self, rank: int, tensor: torch.Tensor) -> list[torch.Tensor]:
        """What every rank shows; returns when all have taken it."""
        self.shown[rank] = tensor.clone()
        self.barrier.wait(PATIENCE_S)
        taken = [shown for shown in self.shown if shown is not None]
        self.barrier.wait(PATIENCE_S)
        return taken


class ThreadGroup:
    """The collectives of one rank of a stage. `counts` is what this rank took part in."""

    def __init__(self, meeting: Meeting, rank: int) -> None:
        self._meeting = meeting
        self.rank = rank
        self.ranks = meeting.ranks
        self.counts = {"sum": 0, "gather": 0, "share": 0}

    def sum_(self, partial):
        self.counts["sum"] += 1
        return partial.copy_(torch.stack(self._meeting.all_shown(self.rank, partial)).sum(0))

    def gather(self, own):
        self.counts["gather"] += 1
        return torch.cat(self._meeting.all_shown(self.rank, own), dim=1)

    def share_(self, tensor):
        self.counts["share"] += 1
        return tensor.copy_(self._meeting.all_shown(self.rank, tensor)[0])


class ThreadRing:
    """The passage between the stages of one place. `handed` is the rows that this stage sent."""

    def __init__(self, passages: list[queue.Queue[torch.Tensor | None]], stage: int) -> None:
        """`passages[i]` leads into stage i; None in one ends whoever waits there."""
        self._passages = passages
        self.stage = stage
        self.stages = len(passages)
        self.handed: list[int] = []

    def send(self, rows):
        self.handed.append(len(rows))
        self._passages[(self.stage + 1) % self.stages].put(rows.clone())

    def receive(self, into):
        rows = self._passages[self.stage].get(timeout=PATIENCE_S)
        if rows is None:
            raise RuntimeError("Another rank ended.")
        assert (rows.shape, rows.dtype) == (into.shape, into.dtype), "both ends know what passes"
        return into.copy_(rows)


class Ranks:
    """Every rank's executor, with what it meets the others by."""

    def __init__(self, folder, shape, ranks: int, stages: int, dtype: str) -> None:
        self._meetings = [Meeting(ranks) for _ in range(stages)]
        self._passages = [[queue.Queue() for _ in range(stages)] for _ in range(ranks)]
        seats = [Seat(rank, ranks, stages) for rank in range(ranks * stages)]
        self.groups = [ThreadGroup(self._meetings[seat.stage], seat.place) for seat in seats]
        self.rings = [ThreadRing(self._passages[seat.place], seat.stage) for seat in seats]
        self.executors = []
        for group, ring in zip(self.groups, self.rings, strict=True):
            model = load_model(
                folder,
                "cpu",
                dtype,
                collectives=group if ranks > 1 else None,
                ring=ring if stages > 1 else None,
            )
            self.executors.append(TorchExecutor(model, shape, group=group))

    def end(self) -> None:
        """Let nobody wait any more."""
        for meeting in self._meetings:
            meeting.barrier.abort()
        for passages in self._passages:
            for passage in passages:
                passage.put(None)


@contextmanager
def ranks_in_threads(
    folder, shape, ranks, *, stages=1, dtype="float64", each: Callable[[TorchExecutor], None] = lambda _: None
):
    """A started-on-demand executor of so many ranks in each stage. `each` sees every rank's executor
    before it starts.
    """
    all_ranks, errors = Ranks(folder, shape, ranks, stages, dtype), []
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-4)  # they wait for each other some fifteen times an iteration
    executors = all_ranks.executors
    for executor in executors:
        each(executor)
    pairs = [channel_pair() for _ in executors[1:]]

    def run(executor: TorchExecutor, channel: Channel) -> None:
        try:
            executor.start()
            follow(channel, executor)
        except ChannelClosed:
            pass
        except Exception as error:  # noqa: BLE001 - the test raises it, whatever it is
            errors.append(error)
            all_ranks.end()
        finally:
            channel.close()
            executor.close()

    threads = [
        threading.Thread(target=run, args=(executor, Channel(there)), daemon=True)
        for executor, (_, there) in zip(executors[1:], pairs, strict=True)
    ]
    for thread in threads:
        thread.start()

    def ended() -> None:
        for thread in threads:
            thread.join(PATIENCE_S)

    leading = LeadingExecutor(executors[0], [here for here, _ in pairs], ended)
    leading.groups, leading.rings = all_ranks.groups, all_ranks.rings
    try:
        yield leading
    finally:
        leading.close()
        sys.setswitchinterval(interval)
        if errors:
            raise errors[0]
