"""The ranks of an engine as an operator sees them.

Owns the rows, what changes in them (memory, step time), and that the door hears of it about every
second. Rank 0's step time is left to the door, which has its turns. `skipjoin admin executors`
shows them.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping, Sequence

from ...proto import admin_pb2
from ...proto.frames import Executors
from ...proto.ranks_pb2 import RankReport
from ..ipc import EngineEnd

_EVERY_NS = 1_000_000_000


class RankRows:
    """`rows` begins with rank 0's; `reports` is what the others said last, by rank."""

    def __init__(
        self,
        rows: Sequence[admin_pb2.ExecutorRank],
        memory_bytes: Callable[[], int] = lambda: 0,
        reports: Mapping[int, RankReport] | None = None,
    ) -> None:
        self._rows = rows
        self._memory_bytes = memory_bytes
        self._reports = {} if reports is None else reports
        self._due_ns = 0

    def keep(self, now_ns: int, ipc: EngineEnd, incarnation: int) -> None:
        """Tell the door if it is time to. Raises IpcClosed."""
        if self._rows and now_ns >= self._due_ns:
            self._due_ns = now_ns + _EVERY_NS
            ipc.send(Executors(incarnation, tuple(self.now())))

    def now(self) -> Sequence[admin_pb2.ExecutorRank]:
        """As they are."""
        for row in self._rows:
            if row.rank == 0:
                row.memory_bytes = self._memory_bytes()
            elif row.rank in self._reports:
                report = self._reports[row.rank]
                row.memory_bytes, row.step_ns = report.memory_bytes, report.step_ns
        return self._rows


def row_of_first(device: str, device_pages: int, host_pages: int, page_bytes: int) -> admin_pb2.ExecutorRank:
    """Rank 0's, which is this process."""
    return admin_pb2.ExecutorRank(
        rank=0,
        pid=os.getpid(),
        host=socket.gethostname(),
        device=device,
        device_pages=device_pages,
        host_pages=host_pages,
        page_bytes=page_bytes,
    )
