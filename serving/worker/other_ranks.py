"""The ranks of this machine that follow the engine's own.

Owns their processes from start to end: it starts them with a channel each, tells them who they are
to be, hears what they loaded, and has all make room for as many pages as the smallest can have. It
computes nothing. `torch_parts` starts them before it loads its own part; they end with the engine.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from ... import __version__
from ...core.errors import ExecutorLost, InvalidModel, by_code
from ...executor.ranks.channel import Channel, ChannelClosed, channel_pair
from ...kvstore.device.pool import PoolShape
from ...proto import ranks_pb2 as pb
from ...proto.frames import PROTOCOL
from ..settings import ServeSettings
from .rank_part import Place, RankPart, Steps

log = logging.getLogger("skipjoin.engine")

SILENCE_S = 60.0
"""A rank that starts and says nothing for so long hangs."""
_LOOK_NS = 200_000_000


class OtherRanks:
    """Rank 1 to `ranks` - 1, each a process of this machine."""

    def __init__(self, settings: ServeSettings, ranks: int, generation: int) -> None:
        """Start them. Raises ExecutorLost when a process cannot be had."""
        self._folder = Path(tempfile.mkdtemp(prefix="skipjoin-ranks-"))  # no other user may open it
        self.place = Place(0, ranks, self._folder / "meeting")
        self._processes: list[subprocess.Popen[bytes]] = []
        self.channels: list[Channel] = []
        try:
            for rank in range(1, ranks):
                self._start(rank)
            for channel in self.channels:
                welcome = pb.RankWelcome(
                    generation=generation,
                    settings_json=settings.model_dump_json(),
                    world=ranks,
                    meeting=str(self.place.meeting),
                )
                channel.send(pb.LeaderFrame(welcome=welcome).SerializeToString())
        except (OSError, ChannelClosed) as error:
            self.close()
            raise ExecutorLost("The process of a rank could not be started.") from error

    def agree(self, own: RankPart, steps: Steps) -> PoolShape:
        """Wait until all have loaded; the pools that every rank can have, of which they are told.
        Raises InvalidModel for ranks of other weights, and what ended a rank.
        """
        loaded = [self._hear(rank, "loaded", steps).loaded for rank in range(1, self.place.ranks)]
        for rank, other in enumerate(loaded, 1):
            if other.digest != own.digest:
                raise InvalidModel(f"Rank {rank} has read other weights than rank 0.", field="model")
        shape = PoolShape(
            min(own.room.num_pages, *(other.device_pages for other in loaded)),
            min(own.room.num_host_pages, *(other.host_pages for other in loaded)),
            own.room.page_tokens,
        )
        pools = pb.RankPools(
            device_pages=shape.num_pages, host_pages=shape.num_host_pages, page_tokens=shape.page_tokens
        )
        for channel in self.channels:
            channel.send(pb.LeaderFrame(pools=pools).SerializeToString())
        return shape

    def started(self, steps: Steps) -> None:
        """Wait until all can take plans. Raises what ended a rank."""
        for rank in range(1, self.place.ranks):
            self._hear(rank, "started", steps)

    def close(self) -> None:
        """End them; idempotent."""
        for channel in self.channels:
            channel.close()
        for process in self._processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(2.0)
            process.kill()
            process.wait()
        self._processes.clear()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _start(self, rank: int) -> None:
        here, there = channel_pair()
        self.channels.append(here)
        command = [sys.executable, "-m", f"{__package__}.rank_process", str(there.fileno()), str(rank)]
        with there:
            self._processes.append(
                subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=(there.fileno(),), env=dict(os.environ))
            )
        hello = self._hear(rank, "hello", None).hello
        if (hello.protocol, hello.version) != (PROTOCOL, __version__):
            raise ExecutorLost(f"Rank {rank} is of version {hello.version[:40]}, rank 0 of {__version__}.")

    def _hear(self, rank: int, wanted: str, steps: Steps | None) -> pb.RankFrame:
        """The frame that a rank owes; its steps until then are progress."""
        channel, quiet_ns = self.channels[rank - 1], 0
        while True:
            try:
                data = channel.receive(_LOOK_NS)
            except ChannelClosed:
                raise ExecutorLost(f"Rank {rank} ended while it started; the log says why.") from None
            if data is None:
                quiet_ns += _LOOK_NS
                if quiet_ns >= SILENCE_S * 1e9:
                    raise ExecutorLost(f"Rank {rank} has said nothing for {SILENCE_S:g} s while it started.")
                continue
            quiet_ns = 0
            frame = pb.RankFrame.FromString(data)
            body = frame.WhichOneof("body")
            if body == wanted:
                return frame
            if body == "failed":
                raise _error_of(frame.failed)
            if steps is not None:
                steps.beat()


def _error_of(failed: pb.RankFailed) -> Exception:
    error = by_code().get(failed.code, ExecutorLost)
    return error(
        failed.message,
        field=failed.field if failed.HasField("field") else None,
        limit=failed.limit if failed.HasField("limit") else None,
    )
