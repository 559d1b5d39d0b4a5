"""The ranks' tensors meet here, over torch.distributed.

Owns the process group of one executor: how its members find each other, and the three collectives
that sharded decoding needs. Only tensors pass through it, never objects. It knows no plan; the
decoder's sharded parts and the samplers call it, all ranks in the same order.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed

from ...core.errors import ExecutorLost

_FIRST = 0
_dist: Any = distributed  # torch declares neither its stores nor the options of its groups


class RankGroup:
    """The collectives of `ranks` processes, of which this is `rank`. `model.parts.collectives` says
    what they do.
    """

    def __init__(self, members: Any, rank: int, ranks: int) -> None:
        """`members`: a torch.distributed process group of its own, not the default one."""
        self._members = members
        self._rank = rank
        self._ranks = ranks

    @property
    def rank(self) -> int:
        return self._rank

    @property
    def ranks(self) -> int:
        return self._ranks

    def sum_(self, partial: Tensor) -> Tensor:
        self._members.allreduce([partial]).wait()
        return partial

    def gather(self, own: Tensor) -> Tensor:
        rows, width = own.shape
        flat = own.new_empty(self._ranks * own.numel())
        self._members._allgather_base(flat, own.contiguous().view(-1)).wait()
        return flat.view(self._ranks, rows, width).transpose(0, 1).reshape(rows, self._ranks * width)

    def share_(self, tensor: Tensor) -> Tensor:
        """Replace the tensor of every rank by that of rank 0; the same tensor. Raises RuntimeError
        when a rank is gone.
        """
        self._members.broadcast(tensor, _FIRST).wait()
        return tensor


def join_local(meeting: Path, rank: int, ranks: int, device: torch.device, patience_s: float) -> RankGroup:
    """Meet the other ranks of this machine at a file that only its user can open.

    `patience_s` bounds the wait for the others, here and in every collective. Raises ExecutorLost.
    """
    store = _dist.PrefixStore("skipjoin", _dist.FileStore(str(meeting), ranks))
    try:
        members = (
            _nccl(store, rank, ranks, patience_s) if device.type == "cuda" else _gloo(store, rank, ranks, patience_s)
        )
    except RuntimeError as error:
        raise ExecutorLost(f"Rank {rank} of {ranks} did not meet the others within {patience_s:g} s.") from error
    return RankGroup(members, rank, ranks)


def _gloo(store: Any, rank: int, ranks: int, patience_s: float) -> Any:
    # By its options a group listens on the address named here. torch's public call would bind to
    # whatever address this machine's name resolves to.
    options = _dist.ProcessGroupGloo._Options()
    options._devices = [_dist.ProcessGroupGloo.create_device(hostname="127.0.0.1")]
    options._timeout = timedelta(seconds=patience_s)
    return _dist.ProcessGroupGloo(store, rank, ranks, options)


def _nccl(store: Any, rank: int, ranks: int, patience_s: float) -> Any:
    options = _dist.ProcessGroupNCCL.Options()
    options._timeout = timedelta(seconds=patience_s)
    return _dist.ProcessGroupNCCL(store, rank, ranks, options)
