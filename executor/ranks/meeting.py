"""Where the ranks of one executor find each other for their collectives.

Owns the place, as a word that fits into a frame, and the store that torch.distributed looks into
there: a file of this machine, or a store at an address that rank 0 has chosen. It knows no
collective; `group` does.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from torch import distributed

from .addresses import LOOPBACK, listening

_FILE = "file:"
_TCP = "tcp:"
_dist: Any = distributed  # torch declares its stores nowhere


@dataclass(frozen=True, slots=True)
class Meeting:
    """`place`: `file:PATH`, or `tcp:PORT:HOST`. `address`: on which this rank listens for the
    others. `listening`: rank 0's socket at a place of TCP.
    """

    place: str
    address: str = LOOPBACK
    listening: socket.socket | None = None

    def store(self, ranks: int, patience_s: float) -> Any:
        """A store of torch.distributed. Raises RuntimeError when it cannot be reached."""
        if self.place.startswith(_FILE):
            return _dist.FileStore(self.place.removeprefix(_FILE), ranks)
        port, _, host = self.place.removeprefix(_TCP).partition(":")
        patience = timedelta(seconds=patience_s)
        if self.listening is None:
            return _dist.TCPStore(host, int(port), ranks, False, patience, wait_for_workers=False)
        # With a socket of ours, for torch would listen on every address of this machine.
        descriptor = self.listening.detach()
        return _dist.TCPStore(
            host, int(port), ranks, True, patience, wait_for_workers=False, master_listen_fd=descriptor
        )


def meeting_in(path: str) -> Meeting:
    """At a file, for ranks of one machine."""
    return Meeting(f"{_FILE}{path}")


def meeting_at(host: str) -> Meeting:
    """At a free port of this address, for rank 0. Raises OSError."""
    end = listening(host, 0)
    return Meeting(f"{_TCP}{end.getsockname()[1]}:{host}", host, end)
