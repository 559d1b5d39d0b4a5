"""Ranks of one executor as threads of the test, over real channels.

Owns the collectives between the threads and the start of all ranks. What decodes, follows and leads
is the product's; only torch.distributed is left out, so that a test of every family takes seconds.
tests/process has the ranks as processes.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from contextlib import contextmanager

import torch

from skipjoin.executor.ranks.channel import Channel, ChannelClosed, channel_pair
from skipjoin.executor.ranks.following import follow
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
    """The collectives of one rank. `counts` is what this rank took part in."""

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


@contextmanager
def ranks_in_threads(folder, shape, ranks, *, dtype="float64", each: Callable[[TorchExecutor], None] = lambda _: None):
    """A started-on-demand executor of so many ranks. `each` sees every rank's executor before it
    starts.
    """
    meeting, errors = Meeting(ranks), []
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-4)  # they wait for each other some fifteen times an iteration
    groups = [ThreadGroup(meeting, rank) for rank in range(ranks)]
    executors = [
        TorchExecutor(load_model(folder, "cpu", dtype, collectives=group), shape, group=group) for group in groups
    ]
    for executor in executors:
        each(executor)
    pairs = [channel_pair() for _ in range(ranks - 1)]

    def run(executor: TorchExecutor, channel: Channel) -> None:
        try:
            executor.start()
            follow(channel, executor)
        except ChannelClosed:
            pass
        except Exception as error:  # noqa: BLE001 - the test raises it, whatever it is
            errors.append(error)
            meeting.barrier.abort()
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
    leading.groups = groups
    try:
        yield leading
    finally:
        leading.close()
        sys.setswitchinterval(interval)
        if errors:
            raise errors[0]
