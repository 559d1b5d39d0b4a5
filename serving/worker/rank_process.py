"""The process of a rank other than the first.

Owns its life: it says hello, is told who it is to be, loads its part of the model, makes room for
its part of the KV, and follows rank 0 until that closes the channel. `local_ranks` or `joining`
starts it with the number of an inherited socket; it ends with its engine. It knows no door, no job and no policy.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys

from ... import __version__
from ...core.clock import MonotonicClock
from ...core.errors import ExecutorLost, InternalError, SkipjoinError
from ...executor.capacity import memory_now
from ...executor.ranks.channel import Channel, ChannelClosed
from ...executor.ranks.following import follow
from ...executor.ranks.leading import OUT_OF_MEMORY
from ...executor.ranks.meeting import Meeting
from ...kvstore.device.pool import PoolShape
from ...proto import ranks_pb2 as pb
from ...proto.frames import PROTOCOL
from ..logs import log_to_stderr
from ..settings import ServeSettings
from .berth import Berth
from .offspring import die_with_parent
from .rank_part import Place, load_part, share_of

EXIT_FAILED = 1
_EVERY_NS = 250_000_000


def main(argv: list[str]) -> int:
    """Run on the socket whose number is the first argument, on the berth that the next four name,
    with the model's folder in the last if rank 0 has it elsewhere; the exit code is 0 when rank 0
    ended it.
    """
    die_with_parent()
    for number in (signal.SIGINT, signal.SIGTERM):  # they are for the door, which drains
        signal.signal(number, signal.SIG_IGN)
    channel, berth = Channel(socket.socket(fileno=int(argv[0]))), Berth.of_words(argv[1:5])
    try:
        _serve(channel, berth, argv[5] if len(argv) > 5 else None)
    except ChannelClosed:
        return 0
    except SkipjoinError as error:
        return _failed(channel, error)
    except MemoryError:
        return _failed(
            channel,
            InternalError(OUT_OF_MEMORY),
        )
    return 0


def _serve(channel: Channel, berth: Berth, model: str | None) -> None:
    hello = pb.RankHello(rank=berth.rank, protocol=PROTOCOL, version=__version__)
    hello.pid, hello.host = os.getpid(), socket.gethostname()
    _send(channel, hello=hello)
    welcome = _receive(channel).welcome
    settings = ServeSettings.model_validate_json(welcome.settings_json)
    if model is not None:
        settings = settings.model_copy(update={"model": model})
    log_to_stderr(settings.log_level, settings.log_format)
    progress = _Progress(channel)
    meeting = Meeting(welcome.meeting, channel.own_address)
    part = load_part(settings, Place(berth, meeting), progress)
    loaded = pb.RankLoaded(
        digest=part.digest,
        weight_bytes=part.weight_bytes,
        device_pages=part.room.num_pages,
        host_pages=part.room.num_host_pages,
        device=str(part.model.device),
        share=share_of(part, settings),
    )
    _send(channel, loaded=loaded)
    pools = _receive(channel).pools
    shape = PoolShape(pools.device_pages, pools.host_pages, pools.page_tokens)
    executor = part.executor(settings, shape, welcome.generation, MonotonicClock(), progress.beat)
    facts = executor.start()
    progress.over = True
    _send(channel, started=pb.RankStarted(page_bytes=facts.page_bytes))
    try:
        follow(channel, executor, memory_bytes=lambda: memory_now(part.model.device))
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
            # Rank 0 does not read while it starts itself: waiting for it in front of a collective
            # that it waits in would be for ever.
            self._channel.offer(pb.RankFrame(step=pb.RankStep(step="goes on")).SerializeToString())


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
