"""What rank 0 has to settle with the other ranks before they carry out plans.

Owns the order of a common start: each says hello, is told who it is to be, says what it loaded, and
makes room for as many pages as the smallest can have. It computes nothing and starts no process:
`local_ranks` does on this machine, `arrivals` hears those of others. `torch_parts` makes it before
it loads its own part; the ranks end with the engine.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from typing import Protocol

from ... import __version__
from ...core.errors import ExecutorLost, InvalidModel, InvalidSettings, SkipjoinError, by_code
from ...executor.ranks.channel import Channel, ChannelClosed
from ...executor.ranks.meeting import Meeting
from ...executor.ranks.secret import read_secret
from ...kvstore.device.pool import PoolShape
from ...proto import admin_pb2
from ...proto import ranks_pb2 as pb
from ...proto.frames import PROTOCOL
from ..settings import ServeSettings
from .arrivals import Arrivals
from .berth import Berth, berth_of, local_berth, meeting_address
from .local_ranks import LocalRanks
from .rank_part import Place, RankPart, Steps

SILENCE_S = 60.0
"""A rank that starts and says nothing for so long hangs."""
_LOOK_NS = 200_000_000


class Source(Protocol):
    """Where ranks come from."""

    @property
    def meeting(self) -> Meeting:
        """Where they meet for collectives."""
        ...

    @property
    def channels(self) -> Sequence[Channel]:
        """To rank 1 and those behind it."""
        ...

    def close(self) -> None:
        """End them; idempotent."""
        ...


class OtherRanks:
    """Rank 1 to `ranks` - 1, with their rows for an operator once they have started."""

    def __init__(self, settings: ServeSettings, ranks: int, generation: int, steps: Steps) -> None:
        """Have them. Raises ExecutorLost when one does not come, InvalidSettings."""
        self._source, berth = _source(settings, ranks, steps)
        self.place = Place(berth, self._source.meeting)
        self.channels = list(self._source.channels)
        self.rows: list[admin_pb2.ExecutorRank] = []
        welcome = pb.RankWelcome(
            generation=generation,
            settings_json=settings.model_dump_json(),
            world=ranks,
            meeting=self.place.meeting.place if self.place.meeting is not None else "",
        )
        try:
            for rank, channel in enumerate(self.channels, 1):
                self._greet(rank)
                channel.send(pb.LeaderFrame(welcome=welcome).SerializeToString())
        except ChannelClosed as error:
            self.close()
            raise ExecutorLost("The process of a rank ended before it was told what to do.") from error
        except BaseException:
            self.close()
            raise

    def agree(self, own: RankPart, steps: Steps) -> PoolShape:
        """Wait until all have loaded; the pools that every rank can have, of which they are told.
        Raises InvalidModel for ranks of other weights, and what ended a rank.
        """
        loaded = [self._hear(rank, "loaded", steps).loaded for rank in range(1, self.place.berth.world)]
        for rank, other in enumerate(loaded, 1):
            if other.digest != own.digest:
                raise InvalidModel(
                    f"Rank {rank} has read other weights than rank 0; give both the same model.", field="model"
                )
        shape = PoolShape(
            min(own.room.num_pages, *(other.device_pages for other in loaded)),
            min(own.room.num_host_pages, *(other.host_pages for other in loaded)),
            own.room.page_tokens,
        )
        pools = pb.RankPools(
            device_pages=shape.num_pages, host_pages=shape.num_host_pages, page_tokens=shape.page_tokens
        )
        for row, other, channel in zip(self.rows, loaded, self.channels, strict=True):
            row.device, row.weight_bytes = other.device, other.weight_bytes
            row.device_pages, row.host_pages = shape.num_pages, shape.num_host_pages
            row.share.CopyFrom(other.share)
            channel.send(pb.LeaderFrame(pools=pools).SerializeToString())
        return shape

    def started(self, steps: Steps) -> None:
        """Wait until all can take plans. Raises what ended a rank."""
        for row in self.rows:
            row.page_bytes = self._hear(row.rank, "started", steps).started.page_bytes

    def last_words(self) -> SkipjoinError | None:
        """What ended a rank, as it said itself, where that was not that another one was lost."""
        for rank, channel in enumerate(self.channels, 1):
            with suppress(ChannelClosed):
                while (data := channel.receive(0)) is not None:
                    frame = pb.RankFrame.FromString(data)
                    if frame.WhichOneof("body") == "failed" and frame.failed.code != ExecutorLost.code:
                        return _error_of(rank, frame.failed)
        return None

    def close(self) -> None:
        """End them; idempotent."""
        self._source.close()

    def _greet(self, rank: int) -> None:
        hello = self._hear(rank, "hello", None).hello
        if (hello.protocol, hello.version) != (PROTOCOL, __version__):
            raise ExecutorLost(
                f"Rank {rank} is of version {hello.version[:40]}, rank 0 of {__version__}; install one version for all."
            )
        self.rows.append(admin_pb2.ExecutorRank(rank=rank, pid=hello.pid, host=hello.host))

    def _hear(self, rank: int, wanted: str, steps: Steps | None) -> pb.RankFrame:
        """The frame that a rank owes; its steps until then are progress."""
        channel, quiet_ns = self.channels[rank - 1], 0
        while True:
            try:
                data = channel.receive(_LOOK_NS)
            except ChannelClosed:
                raise ExecutorLost(f"Rank {rank} ended while it started; its log says why.") from None
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
                raise _error_of(rank, frame.failed)
            if steps is not None:
                steps.beat()


def _source(settings: ServeSettings, ranks: int, steps: Steps) -> tuple[Source, Berth]:
    """The ranks, and rank 0's own berth."""
    if settings.ranks == "local":
        return LocalRanks(ranks), local_berth(0, ranks)
    if settings.ranks == "ray":
        from .ray_ranks import RayRanks

        return RayRanks(settings, ranks, steps), Berth(0, ranks)
    berth = berth_of(os.environ)
    if (berth.rank, berth.world) != (0, ranks):
        raise InvalidSettings(
            f"This is rank {berth.rank} of {berth.world} by RANK and WORLD_SIZE, and it serves a model of {ranks} "
            "ranks.",
            field="WORLD_SIZE",
            limit=str(ranks),
        )
    address = meeting_address(os.environ, settings.ranks_listen)
    arrivals = Arrivals(address, read_secret(settings.ranks_secret), ranks)
    try:
        arrivals.wait(settings.ranks_wait_s, steps)
    except BaseException:
        arrivals.close()
        raise
    return arrivals, berth


def _error_of(rank: int, failed: pb.RankFailed) -> SkipjoinError:
    error = by_code().get(failed.code, ExecutorLost)
    return error(
        f"Rank {rank}: {failed.message}",
        field=failed.field if failed.HasField("field") else None,
        limit=failed.limit if failed.HasField("limit") else None,
    )
