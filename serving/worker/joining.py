"""A rank on another machine than rank 0: it comes, proves the secret, and comes again after an
engine's end.

Owns the connection until a process of the rank has it, and that process: it is killed when rank 0
is gone and it does not end by itself, for it may be stopped, or hang in a collective. It computes
nothing. `skipjoin rank` runs it, and a task of Ray.
"""

from __future__ import annotations

import logging
import select
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path

from google.protobuf.message import DecodeError

from ...core.clock import MonotonicClock, sleep_s
from ...core.errors import Denied, ExecutorLost, InvariantViolation, Unavailable
from ...executor.ranks.channel import Channel, ChannelClosed
from ...executor.ranks.secret import ANOTHER_SECRET, LARGEST_UNPROVEN_BYTES, NONCE_BYTES, Secret, new_nonce, proven
from ...proto import ranks_pb2 as pb
from .berth import Berth
from .local_ranks import end_rank, start_rank

log = logging.getLogger("skipjoin.rank")

CONNECT_S = 5.0
PROOF_NS = 10_000_000_000
_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 1.0
_ENDS_ITSELF_S = 2.0
_LOOK_S = 0.2


@dataclass(frozen=True, slots=True)
class Joining:
    """How a rank gets to rank 0. `wait_s`: how long it looks for one, also after an engine's end."""

    berth: Berth
    address: tuple[str, int]
    secret: Secret
    wait_s: float
    model: Path | None = None

    def keep(self) -> None:
        """Be this rank for one engine after the other. Raises Unavailable when there has been none
        for `wait_s`, Denied when it is not wanted.
        """
        while True:
            code = self.once()
            log.info("the process of rank %d ended with code %d", self.berth.rank, code)

    def once(self) -> int:
        """Be this rank for one engine; the exit code of its process. Raises Unavailable, Denied."""
        with self._found() as end:
            log.info("rank %d is with rank 0 at %s:%d", self.berth.rank, *self.address)
            process = start_rank(end.fileno(), self.berth, self.model)
            _outlived(end, process)
        return int(process.returncode)

    def _found(self) -> socket.socket:
        """A connection to a rank 0 that both have proven themselves over."""
        clock, pause_s = MonotonicClock(), _FIRST_PAUSE_S
        until_ns, said = clock.now_ns() + int(self.wait_s * 1e9), "nobody listens there"
        while clock.now_ns() < until_ns:
            try:
                end = socket.create_connection(self.address, CONNECT_S)
            except OSError as error:
                said = error.strerror or str(error)
            else:
                try:
                    return proven_to(end, self.berth, self.secret)
                except ExecutorLost as error:
                    end.close()
                    said = error.message
                except Denied:
                    end.close()
                    raise
            sleep_s(pause_s)
            pause_s = min(_LONGEST_PAUSE_S, 2 * pause_s)
        host, port = self.address
        raise Unavailable(f"Rank {self.berth.rank} has found no rank 0 at {host}:{port} for {self.wait_s:g} s: {said}")


def proven_to(end: socket.socket, berth: Berth, secret: Secret) -> socket.socket:
    """The same connection, once both ends have proven the secret. Raises Denied for another secret
    or a rank that is not wanted, ExecutorLost when rank 0 goes away.
    """
    channel, nonce = Channel(end, LARGEST_UNPROVEN_BYTES), new_nonce()
    try:
        challenge = _heard(channel).challenge.nonce
        if len(challenge) != NONCE_BYTES:
            raise _stranger()
        asked = challenge, nonce, berth.rank, berth.world
        shown = pb.RankProof(rank=berth.rank, world=berth.world, nonce=nonce, proof=secret.of_rank(*asked))
        channel.send(pb.RankFrame(proof=shown).SerializeToString())
        answer = _heard(channel)
    except ChannelClosed:  # an engine may end at any time, and the next one wants this rank
        raise ExecutorLost("rank 0 closed the connection.") from None
    if answer.WhichOneof("body") == "refused":
        said = answer.refused.message
        field = "ranks_secret" if said == ANOTHER_SECRET else "WORLD_SIZE"
        raise Denied(f"Rank 0 does not want this rank: {said}.", field=field)
    if not proven(answer.admitted.proof, secret.of_leader(*asked)):
        raise Denied("What listens there does not have the ranks' secret.", field="ranks_secret")
    return channel.let_go()


def _heard(channel: Channel) -> pb.LeaderFrame:
    try:
        data = channel.receive(PROOF_NS)
        if data is None:
            raise ExecutorLost("rank 0 says nothing.")
        return pb.LeaderFrame.FromString(data)
    except (InvariantViolation, DecodeError):
        raise _stranger() from None


def _stranger() -> Denied:
    return Denied("What listens there is no rank 0 of skipjoin.", field="ranks_listen")


def _outlived(end: socket.socket, process: subprocess.Popen[bytes]) -> None:
    """Wait for the end of the process or of rank 0; the process is gone then."""
    poll = select.poll()
    poll.register(end, select.POLLRDHUP)
    while process.poll() is None and not poll.poll(_LOOK_S * 1000):
        pass
    end_rank(process, _ENDS_ITSELF_S)
