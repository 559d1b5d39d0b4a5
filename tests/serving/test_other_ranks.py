"""What rank 0 learns of a rank that ended before it met the others."""

from __future__ import annotations

import pytest

from skipjoin import __version__
from skipjoin.core.errors import ExecutorLost, InvalidInput, SkipjoinError
from skipjoin.executor.ranks.channel import Channel, channel_pair
from skipjoin.executor.ranks.meeting import Meeting
from skipjoin.proto import ranks_pb2 as pb
from skipjoin.proto.frames import PROTOCOL
from skipjoin.serving.settings import ServeSettings
from skipjoin.serving.worker import other_ranks as module
from skipjoin.serving.worker.berth import local_berth
from skipjoin.serving.worker.other_ranks import OtherRanks


class Given:
    """Ranks that the test speaks for."""

    def __init__(self, channels: list[Channel]) -> None:
        self.meeting = Meeting("file:nowhere")
        self.channels = channels

    def close(self) -> None:
        for channel in self.channels:
            channel.close()


class Quiet:
    def step(self, name: str) -> None: ...

    def advanced(self, done: int, total: int) -> None: ...

    def beat(self) -> None: ...


def _last_words(monkeypatch: pytest.MonkeyPatch, said: list[SkipjoinError | None]) -> SkipjoinError | None:
    pairs = [channel_pair() for _ in said]
    source = Given([here for here, _ in pairs]), local_berth(0, 1 + len(said))
    monkeypatch.setattr(module, "_source", lambda settings, ranks, steps: source)
    ends = [Channel(there) for _, there in pairs]
    for rank, end in enumerate(ends, 1):
        hello = pb.RankHello(rank=rank, protocol=PROTOCOL, version=__version__)
        end.send(pb.RankFrame(hello=hello).SerializeToString())
    others = OtherRanks(ServeSettings(executor="simulated"), 1 + len(said), 1, Quiet())
    for end, error in zip(ends, said, strict=True):
        end.send(pb.RankFrame(step=pb.RankStep(step="meeting the other ranks")).SerializeToString())
        if error is not None:
            failed = pb.RankFailed(code=error.code, message=error.message, field=error.field)
            end.send(pb.RankFrame(failed=failed).SerializeToString())
        end.close()
    words = others.last_words()
    others.close()
    return words


def test_a_rank_that_refused_to_start_is_heard_and_not_who_missed_it(monkeypatch: pytest.MonkeyPatch) -> None:
    words = _last_words(monkeypatch, [ExecutorLost("Nobody came."), InvalidInput("No such device.", field="device")])
    assert isinstance(words, InvalidInput)
    assert (words.message, words.field) == ("Rank 2: No such device.", "device")


def test_ranks_that_only_missed_another_one_say_nothing_new(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _last_words(monkeypatch, [ExecutorLost("Nobody came."), None]) is None
