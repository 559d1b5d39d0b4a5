"""The ranks' tensors meet here, over torch.distributed.

Owns the process groups of one executor: how their members find each other, the three collectives
that sharded decoding needs, and the passage from stage to stage. Only tensors pass through it, never
objects. It knows no plan; the decoder's sharded parts, its stages and the samplers call it, all
ranks in the same order.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor, distributed

from ...core.clock import MonotonicClock
from ...core.errors import ExecutorLost
from .grid import Seat
from .meeting import Meeting

_FIRST = 0
_TAG = 0
_dist: Any = distributed  # torch declares neither its stores nor the options of its groups


class RankGroup:
    """The collectives of the ranks of a stage, and the ring of the stages. `model.parts.collectives`
    and `model.parts.ring` say what they do.
    """

    def __init__(self, seat: Seat, members: Any, along: Any) -> None:
        """`members`: a torch.distributed process group of the stage's ranks, not the default one;
        `along`: another, of the ranks that have this place in each stage.
        """
        self._seat = seat
        self._members = members
        self._along = along
        self._clock = MonotonicClock()
        self.waited_ns = 0  # in collectives since the start, as the host sees it

    @property
    def rank(self) -> int:
        return self._seat.place

    @property
    def ranks(self) -> int:
        return self._seat.abreast

    @property
    def stage(self) -> int:
        return self._seat.stage

    @property
    def stages(self) -> int:
        return self._seat.stages

    def sum_(self, partial: Tensor) -> Tensor:
        self._wait(lambda: self._members.allreduce([partial]))
        return partial

    def gather(self, own: Tensor) -> Tensor:
        rows, width = own.shape
        ranks = self.ranks
        flat = own.new_empty(ranks * own.numel())
        self._wait(lambda: self._members._allgather_base(flat, own.contiguous().view(-1)))
        return flat.view(ranks, rows, width).transpose(0, 1).reshape(rows, ranks * width)

    def share_(self, tensor: Tensor) -> Tensor:
        """Replace the tensor of every rank of the stage by that of its first; the same tensor.
        Raises RuntimeError when a rank is gone.
        """
        self._wait(lambda: self._members.broadcast(tensor, _FIRST))
        return tensor

    def send(self, rows: Tensor) -> None:
        self._wait(lambda: self._along.send([rows.contiguous()], (self.stage + 1) % self.stages, _TAG))

    def receive(self, into: Tensor) -> Tensor:
        self._wait(lambda: self._along.recv([into], (self.stage - 1) % self.stages, _TAG))
        return into

    def _wait(self, begin: Callable[[], Any]) -> None:
        begun_ns = self._clock.now_ns()
        begin().wait()
        self.waited_ns += self._clock.now_ns() - begun_ns


def join(meeting: Meeting, seat: Seat, device: torch.device, patience_s: float) -> RankGroup:
    """Meet the other ranks.

    `patience_s` bounds the wait for the others, here and in every collective. Raises ExecutorLost.
    """
    group, address = (_nccl if device.type == "cuda" else _gloo), meeting.address
    try:
        store = _dist.PrefixStore("skipjoin", meeting.store(seat.ranks, patience_s))
        members = group(_dist.PrefixStore(f"stage {seat.stage}", store), seat.place, seat.abreast, address, patience_s)
        along = group(_dist.PrefixStore(f"place {seat.place}", store), seat.stage, seat.stages, address, patience_s)
    except RuntimeError as error:
        raise ExecutorLost(
            f"Rank {seat.rank} of {seat.ranks} did not meet the others within {patience_s:g} s."
        ) from error
    return RankGroup(seat, members, along)


def _gloo(store: Any, rank: int, ranks: int, address: str, patience_s: float) -> Any:
    # By its options a group listens on the address named here. torch's public call would bind to
    # whatever address this machine's name resolves to.
    options = _dist.ProcessGroupGloo._Options()
    options._devices = [_dist.ProcessGroupGloo.create_device(hostname=address)]
    options._timeout = timedelta(seconds=patience_s)
    return _dist.ProcessGroupGloo(store, rank, ranks, options)


def _nccl(store: Any, rank: int, ranks: int, address: str, patience_s: float) -> Any:
    # NCCL chooses its interface itself, by NCCL_SOCKET_IFNAME where that is set.
    options = _dist.ProcessGroupNCCL.Options()
    options._timeout = timedelta(seconds=patience_s)
    return _dist.ProcessGroupNCCL(store, rank, ranks, options)
