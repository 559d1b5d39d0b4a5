"""The process of a rank other than the first.

Owns its life: it says hello, is told who it is to be, loads its part of the model, makes room for
its part of the KV, and follows rank 0 until that closes the channel. `other_ranks` starts it with
the number of an inherited socket; it ends with its engine. It knows no door, no job and no policy.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
from pathlib import Path

from ... import __version__
from ...core.clock import MonotonicClock
from ...core.errors import ExecutorLost, InternalError, SkipjoinError
from ...executor.ranks.channel import Channel, ChannelClosed
from ...executor.ranks.following import follow
from ...kvstore.device.pool import PoolShape
from ...proto import ranks_pb2 as pb
from ...proto.frames import PROTOCOL
from ..logs import log_to_stderr
from ..settings import ServeSettings
from .offspring import die_with_parent
from .rank_part import Place, load_part

EXIT_FAILED = 1
_EVERY_NS = 250_000_000


def main(argv: list[str]) -> int:
    """Run on the socket whose number is the first argument, as the rank that is the second; the
    exit code is 0 when rank 0 ended it.
    """
    die_with_parent()
    for number in (signal.SIGINT, signal.SIGTERM):  # they are for the door, which drains
        signal.signal(number, signal.SIG_IGN)
    channel, rank = Channel(socket.socket(fileno=int(argv[0]))), int(argv[1])
    try:
        _serve(channel, rank)
    except ChannelClosed:
        return 0
    except SkipjoinError as error:
        return _failed(channel, error)
    except MemoryError:
        return _failed(channel, InternalError(f"Rank {rank} ran out of memory; give it less with --kv-tokens."))
    return 0


def _serve(channel: Channel, rank: int) -> None:
    _send(channel, hello=pb.RankHello(rank=rank, protocol=PROTOCOL, version=__version__))
    welcome = _receive(channel).welcome
    settings = ServeSettings.model_validate_json(welcome.settings_json)
    log_to_stderr(settings.log_level, settings.log_format)
    progress = _Progress(channel)
    part = load_part(settings, Place(rank, welcome.world, Path(welcome.meeting)), progress)
    loaded = pb.RankLoaded(digest=part.digest, device_pages=part.room.num_pages, host_pages=part.room.num_host_pages)
    _send(channel, loaded=loaded)
    pools = _receive(channel).pools
    shape = PoolShape(pools.device_pages, pools.host_pages, pools.page_tokens)
    executor = part.executor(settings, shape, welcome.generation, MonotonicClock(), progress.beat)
    facts = executor.start()
    progress.over = True
    _send(channel, started=pb.RankStarted(page_bytes=facts.page_bytes))
    try:
        follow(channel, executor)
    finally:
        executor.close()


class _Progress:
    """Tells rank 0 that the start goes on, four times a second at most."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._clock = MonotonicClock()
        self._sent_ns = 0
        self.over = False

    def step(self, name: str) -> None:
        """A new step of the start."""
        _send(self._channel, step=pb.RankStep(step=name))

    def advanced(self, done: int, total: int) -> None:
        """The step goes on."""
        self.beat()

    def beat(self) -> None:
        """The step goes on."""
        now_ns = self._clock.now_ns()
        if not self.over and now_ns - self._sent_ns >= _EVERY_NS:
            self._sent_ns = now_ns
            _send(self._channel, step=pb.RankStep(step="goes on"))


def _send(channel: Channel, **body: object) -> None:
    channel.send(pb.RankFrame(**body).SerializeToString())  # type: ignore[arg-type]  # one field of the oneof


def _receive(channel: Channel) -> pb.LeaderFrame:
    data = channel.receive(None)
    if data is None:
        raise ExecutorLost("Rank 0 says nothing.")
    return pb.LeaderFrame.FromString(data)


def _failed(channel: Channel, error: SkipjoinError) -> int:
    failed = pb.RankFailed(code=error.code, message=error.message, field=error.field, limit=error.limit)
    with contextlib.suppress(ChannelClosed):
        _send(channel, failed=failed)
    return EXIT_FAILED


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # threads of a collective that hangs must not keep a process alive that nobody listens to
