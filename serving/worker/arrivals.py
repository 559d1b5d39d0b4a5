"""The ranks of other machines, as they come to rank 0.

Owns rank 0's listening socket: it takes connections, lets each prove that it has the secret, and
hands out one channel for each rank, within a bounded time. Who cannot prove it gets nothing and
holds nobody up. It starts no process; `other_ranks` waits here for `--ranks env` and `ray`.
"""

from __future__ import annotations

import logging
import select
from contextlib import suppress
from dataclasses import dataclass

from google.protobuf.message import DecodeError

from ...core.clock import Clock, MonotonicClock
from ...core.errors import ExecutorLost, InvalidSettings, InvariantViolation
from ...executor.ranks.addresses import listening
from ...executor.ranks.channel import Channel, ChannelClosed
from ...executor.ranks.meeting import Meeting, meeting_at
from ...executor.ranks.secret import ANOTHER_SECRET, LARGEST_UNPROVEN_BYTES, NONCE_BYTES, Secret, new_nonce, proven
from ...proto import ranks_pb2 as pb
from .rank_part import Steps

log = logging.getLogger("skipjoin.engine")

PROOF_S = 5.0
"""A connection that has proven nothing for so long is closed."""
MOST_NEWCOMERS = 32
_LOOK_S = 0.2


@dataclass(frozen=True, slots=True)
class _Newcomer:
    channel: Channel
    challenge: bytes
    until_ns: int
    peer: str


class Arrivals:
    """Ranks 1 to `world` - 1, once `wait` has returned."""

    def __init__(self, address: tuple[str, int], secret: Secret, world: int, clock: Clock | None = None) -> None:
        """Listen. Raises InvalidSettings where that cannot be done."""
        host, port = address
        self._secret = secret
        self._world = world
        self._clock = clock or MonotonicClock()
        self._newcomers: dict[int, _Newcomer] = {}
        self._arrived: dict[int, Channel] = {}
        self._strangers = 0
        try:
            self._listening = listening(host, port)
            self.meeting: Meeting = meeting_at(host)
        except OSError as error:
            raise InvalidSettings(
                f"Rank 0 cannot listen at {host}:{port} for the others: {error.strerror}.",
                field="ranks_listen",
                limit="a free port at an address of this machine",
            ) from None
        self.host = host
        self.port = int(self._listening.getsockname()[1])

    @property
    def channels(self) -> list[Channel]:
        """One for each rank that is there, in their order."""
        return [self._arrived[rank] for rank in sorted(self._arrived)]

    def wait(self, patience_s: float, steps: Steps) -> None:
        """Until all ranks are there. Raises ExecutorLost with the first that is not after
        `patience_s`.
        """
        until_ns = self._clock.now_ns() + int(patience_s * 1e9)
        log.info("waiting for %d ranks at %s:%d", self._world - 1, self.host, self.port)
        steps.step("waiting for the other ranks")
        while len(self._arrived) < self._world - 1:
            if self._clock.now_ns() >= until_ns:
                raise ExecutorLost(self._said_of_missing(patience_s), field="ranks_wait_s", limit=f"{patience_s:g} s")
            self._look()
            self._forget_gone()
            steps.beat()
        self._listening.close()
        for newcomer in list(self._newcomers.values()):
            self._send_away(newcomer)

    def close(self) -> None:
        """Close the channels: the ranks at their other ends end; idempotent."""
        self._listening.close()
        for newcomer in list(self._newcomers.values()):
            self._send_away(newcomer)
        for channel in self._arrived.values():
            channel.close()
        if self.meeting.listening is not None:
            self.meeting.listening.close()

    def _said_of_missing(self, patience_s: float) -> str:
        missing = [str(rank) for rank in range(1, self._world) if rank not in self._arrived]
        who = f"Rank {missing[0]}" if len(missing) == 1 else f"The ranks {', '.join(missing)}"
        said = f"{who} of {self._world} did not come to {self.host}:{self.port} within {patience_s:g} s."
        if self._strangers:
            said += f" {self._strangers} connections had another secret: give every rank the same ranks_secret."
        return said

    def _look(self) -> None:
        """Hear whoever says something now, and forget who took too long."""
        door = self._listening.fileno()
        ready, _, _ = select.select([door, *self._newcomers], [], [], _LOOK_S)
        for end in ready:
            if end == door:
                self._greet()
            else:
                self._hear(self._newcomers[end])
        now_ns = self._clock.now_ns()
        for newcomer in list(self._newcomers.values()):
            if now_ns >= newcomer.until_ns:
                self._send_away(newcomer)

    def _forget_gone(self) -> None:
        """A rank that ended while others are waited for may come again."""
        poll = select.poll()
        for channel in self._arrived.values():
            poll.register(channel.fileno(), select.POLLRDHUP)
        gone = {end for end, _ in poll.poll(0)}
        for rank, channel in list(self._arrived.items()):
            if channel.fileno() in gone:
                log.warning("rank %d is gone again", rank)
                channel.close()
                del self._arrived[rank]

    def _greet(self) -> None:
        with suppress(OSError):
            end, peer = self._listening.accept()
            if len(self._newcomers) >= MOST_NEWCOMERS:
                end.close()
                return
            channel, challenge = Channel(end, LARGEST_UNPROVEN_BYTES), new_nonce()
            until_ns = self._clock.now_ns() + int(PROOF_S * 1e9)
            newcomer = _Newcomer(channel, challenge, until_ns, str(peer[0]))
            self._newcomers[channel.fileno()] = newcomer
            self._say(newcomer, pb.LeaderFrame(challenge=pb.RankChallenge(nonce=challenge)))

    def _hear(self, newcomer: _Newcomer) -> None:
        try:
            data = newcomer.channel.receive(0)
            if data is None:
                return
            frame = pb.RankFrame.FromString(data)
        except (ChannelClosed, InvariantViolation, DecodeError):
            self._send_away(newcomer)
            return
        self._judge(newcomer, frame.proof)

    def _judge(self, newcomer: _Newcomer, shown: pb.RankProof) -> None:
        asked = newcomer.challenge, shown.nonce, shown.rank, shown.world
        if len(shown.nonce) != NONCE_BYTES or not proven(shown.proof, self._secret.of_rank(*asked)):
            self._strangers += 1
            log.warning("somebody at %s has another ranks_secret and is sent away", newcomer.peer)
            self._say(newcomer, pb.LeaderFrame(refused=pb.RankRefused(message=ANOTHER_SECRET)))
            self._send_away(newcomer)
            return
        refused = self._refusal(shown)
        if refused is not None:
            log.warning("a rank at %s is sent away: %s", newcomer.peer, refused)
            self._say(newcomer, pb.LeaderFrame(refused=pb.RankRefused(message=refused)))
            self._send_away(newcomer)
            return
        if self._say(newcomer, pb.LeaderFrame(admitted=pb.RankAdmitted(proof=self._secret.of_leader(*asked)))):
            del self._newcomers[newcomer.channel.fileno()]
            self._arrived[shown.rank] = Channel(newcomer.channel.let_go())
            log.info("rank %d is there, at %s", shown.rank, newcomer.peer)

    def _refusal(self, shown: pb.RankProof) -> str | None:
        if shown.world != self._world:
            return f"it was started as one of {shown.world} ranks, and rank 0 as one of {self._world}"
        if not 1 <= shown.rank < self._world:
            return f"{shown.rank} is no rank of {self._world} but the first"
        return f"there is a rank {shown.rank} already" if shown.rank in self._arrived else None

    def _say(self, newcomer: _Newcomer, frame: pb.LeaderFrame) -> bool:
        try:
            newcomer.channel.send(frame.SerializeToString())
        except ChannelClosed:
            self._send_away(newcomer)
            return False
        return True

    def _send_away(self, newcomer: _Newcomer) -> None:
        self._newcomers.pop(newcomer.channel.fileno(), None)
        newcomer.channel.close()
