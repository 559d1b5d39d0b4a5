"""Ranks of other machines come to rank 0: with the secret, within bounds, and each once. Over real
sockets of loopback.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from skipjoin.core.errors import Denied, ExecutorLost, InvalidSettings, SkipjoinError, Unavailable
from skipjoin.executor.ranks.channel import Channel, ChannelClosed
from skipjoin.executor.ranks.secret import LARGEST_UNPROVEN_BYTES, Secret, new_nonce, read_secret
from skipjoin.proto import ranks_pb2 as pb
from skipjoin.serving.worker import arrivals as module
from skipjoin.serving.worker.arrivals import Arrivals
from skipjoin.serving.worker.berth import Berth
from skipjoin.serving.worker.joining import Joining, proven_to

SECRET = Secret(b"the ranks' own secret")
PATIENCE_S = 20.0


class Quiet:
    """Who hears how far a start is."""

    def step(self, name: str) -> None: ...

    def advanced(self, done: int, total: int) -> None: ...

    def beat(self) -> None: ...


@pytest.fixture
def arrivals() -> Iterator[Arrivals]:
    """Rank 0 of three, at a free port."""
    made = Arrivals(("127.0.0.1", 0), SECRET, 3)
    yield made
    made.close()


def _connected(arrivals: Arrivals) -> socket.socket:
    return socket.create_connection(("127.0.0.1", arrivals.port), 10)


def _rank(arrivals: Arrivals, berth: Berth, secret: Secret = SECRET) -> Callable[[], socket.socket | SkipjoinError]:
    """Comes beside the test; called, it says what became of it."""
    became: list[socket.socket | SkipjoinError] = []

    def come() -> None:
        end = _connected(arrivals)
        try:
            became.append(proven_to(end, berth, secret))
        except SkipjoinError as error:
            end.close()
            became.append(error)

    thread = threading.Thread(target=come)
    thread.start()

    def result() -> socket.socket | SkipjoinError:
        thread.join(PATIENCE_S)
        return became[0]

    return result


def test_ranks_are_in_their_order_whoever_comes_first(arrivals: Arrivals) -> None:
    second = _rank(arrivals, Berth(2, 3))
    first = _rank(arrivals, Berth(1, 3))
    arrivals.wait(PATIENCE_S, Quiet())
    for rank, (channel, end) in enumerate(zip(arrivals.channels, (first(), second()), strict=True), 1):
        assert isinstance(end, socket.socket)
        # Behind the proof there is room for plans, which are longer than what a stranger may send.
        word = b"for rank %d " % rank * 1000
        Channel(end).send(word)
        assert channel.receive(10**10) == word
        end.close()


def test_another_secret_is_sent_away_and_named_when_time_is_up(arrivals: Arrivals) -> None:
    stranger = _rank(arrivals, Berth(1, 3), Secret(b"guessed" * 5))
    with pytest.raises(ExecutorLost, match=r"The ranks 1, 2 of 3 did not come .* another secret: .*ranks_secret"):
        arrivals.wait(1.0, Quiet())
    refused = stranger()
    assert isinstance(refused, Denied) and refused.field == "ranks_secret"


def test_the_rank_that_does_not_come_is_named(arrivals: Arrivals) -> None:
    here = _rank(arrivals, Berth(1, 3))
    with pytest.raises(ExecutorLost, match=r"^Rank 2 of 3 did not come to 127\.0\.0\.1:\d+ within 1 s") as error:
        arrivals.wait(1.0, Quiet())
    assert (error.value.field, error.value.limit) == ("ranks_wait_s", "1 s")
    end = here()
    assert isinstance(end, socket.socket)
    end.close()


@pytest.mark.parametrize(
    ("berth", "said"),
    [
        (Berth(1, 4), "one of 4 ranks, and rank 0 as one of 3"),
        (Berth(3, 3), "3 is no rank of 3"),
        (Berth(0, 3), "0 is no rank"),
    ],
)
def test_a_rank_of_another_world_hears_why_it_is_not_wanted(arrivals: Arrivals, berth: Berth, said: str) -> None:
    wrong = _rank(arrivals, berth)
    with pytest.raises(ExecutorLost):
        arrivals.wait(1.0, Quiet())
    refused = wrong()
    assert isinstance(refused, Denied) and said in refused.message


def test_a_rank_comes_once(arrivals: Arrivals) -> None:
    two = [_rank(arrivals, Berth(1, 3)), _rank(arrivals, Berth(1, 3))]
    with pytest.raises(ExecutorLost, match=r"^Rank 2 of 3"):
        arrivals.wait(1.0, Quiet())
    became = [come() for come in two]
    (end,) = [one for one in became if isinstance(one, socket.socket)]
    (refused,) = [one for one in became if isinstance(one, SkipjoinError)]
    assert "there is a rank 1 already" in refused.message
    end.close()


def test_a_rank_that_ended_while_others_are_waited_for_comes_again(arrivals: Arrivals) -> None:
    waiting = threading.Thread(target=arrivals.wait, args=(PATIENCE_S, Quiet()))
    waiting.start()
    ended = _rank(arrivals, Berth(1, 3))()
    assert isinstance(ended, socket.socket)
    ended.close()
    until = threading.Event()
    for _ in range(100):
        if not arrivals.channels:
            break
        until.wait(0.1)
    ends = [_rank(arrivals, Berth(rank, 3))() for rank in (1, 2)]
    waiting.join(PATIENCE_S)
    for channel, end in zip(arrivals.channels, ends, strict=True):
        assert isinstance(end, socket.socket)
        Channel(end).send(b"here")
        assert channel.receive(10**10) == b"here"
        end.close()


def test_a_rank_comes_again_to_a_rank_0_that_ends_while_it_proves_itself() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def end_early() -> None:
            end, _ = listening.accept()
            channel = Channel(end)
            channel.send(pb.LeaderFrame(challenge=pb.RankChallenge(nonce=new_nonce())).SerializeToString())
            channel.receive(10**10)
            channel.close()

        thread = threading.Thread(target=end_early)
        thread.start()
        with (
            socket.create_connection(listening.getsockname()[:2], 10) as end,
            pytest.raises(ExecutorLost, match="closed the connection"),
        ):
            proven_to(end, Berth(1, 2), SECRET)
        thread.join(PATIENCE_S)


@pytest.mark.parametrize("greeting", [b"SSH-2.0-x\r\n", (3).to_bytes(4, "little") + b"\xff\xff\xff"])
def test_another_service_at_rank_0s_port_is_named(greeting: bytes) -> None:
    here, there = socket.socketpair()
    with here, there:
        there.sendall(greeting)
        with pytest.raises(Denied, match="no rank 0") as denied:
            proven_to(here, Berth(1, 2), SECRET)
    assert denied.value.field == "ranks_listen"


def test_strangers_who_say_nothing_or_too_much_hold_nobody_up(
    arrivals: Arrivals, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PROOF_S", 0.5)
    silent = [_connected(arrivals) for _ in range(module.MOST_NEWCOMERS - 5)]
    loud, mad = _connected(arrivals), _connected(arrivals)
    loud.sendall((LARGEST_UNPROVEN_BYTES + 1).to_bytes(4, "little") + b"x" * 600)
    mad.sendall((3).to_bytes(4, "little") + b"\xff\xff\xff")
    ranks = [_rank(arrivals, Berth(rank, 3)) for rank in (1, 2)]
    arrivals.wait(PATIENCE_S, Quiet())
    for end in (*silent, loud, mad, *(come() for come in ranks)):
        assert isinstance(end, socket.socket)
        end.close()


def test_a_rank_does_not_follow_who_has_no_secret() -> None:
    """Somebody else listens at rank 0's port."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def pretend() -> None:
            end, _ = listening.accept()
            channel = Channel(end)
            channel.send(pb.LeaderFrame(challenge=pb.RankChallenge(nonce=new_nonce())).SerializeToString())
            channel.receive(10**10)
            channel.send(pb.LeaderFrame(admitted=pb.RankAdmitted(proof=b"\0" * 32)).SerializeToString())
            with pytest.raises(ChannelClosed):
                channel.receive(10**10)
            channel.close()

        thread = threading.Thread(target=pretend)
        thread.start()
        rank = Joining(Berth(1, 2), listening.getsockname()[:2], SECRET, PATIENCE_S)
        with pytest.raises(Denied, match="does not have the ranks' secret"):
            rank.keep()
        thread.join(PATIENCE_S)


def test_both_ends_prove_themselves_by_other_texts() -> None:
    """What one end shows is of no use to whoever sends it back."""
    asked = new_nonce(), new_nonce(), 1, 2
    assert len({SECRET.of_rank(*asked), SECRET.of_leader(*asked), SECRET.of_rank(asked[1], asked[0], 1, 2)}) == 3
    assert SECRET.of_rank(*asked[:2], 1, 2) != SECRET.of_rank(*asked[:2], 1, 3)


def test_without_rank_0_a_rank_ends_after_a_while() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = listening.getsockname()[:2]
    with pytest.raises(Unavailable, match="found no rank 0"):
        Joining(Berth(1, 2), address, SECRET, 0.3).keep()


def test_a_taken_port_and_an_address_of_nobody_say_what_to_change() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listening,
        pytest.raises(InvalidSettings, match="in use") as taken,
    ):
        Arrivals(listening.getsockname()[:2], SECRET, 2)
    assert taken.value.field == "ranks_listen"
    with pytest.raises(InvalidSettings, match=r"cannot listen at 192\.0\.2\.1"):
        Arrivals(("192.0.2.1", 0), SECRET, 2)


@pytest.mark.parametrize("content", [None, b"", b"  short \n", b"x" * 5000])
def test_a_file_without_a_secret_is_refused(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "secret").write_bytes(content)
    with pytest.raises(InvalidSettings) as refused:
        read_secret(tmp_path / "secret")
    assert refused.value.field == "ranks_secret"


def test_line_ends_are_no_part_of_a_secret(tmp_path: Path) -> None:
    asked = new_nonce(), new_nonce(), 1, 2
    shown = []
    for content in (b"0123456789abcdef", b"0123456789abcdef\r\n"):
        (tmp_path / "secret").write_bytes(content)
        shown.append(read_secret(tmp_path / "secret").of_rank(*asked))
    assert shown[0] == shown[1]
