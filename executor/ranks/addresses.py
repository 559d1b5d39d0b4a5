"""TCP between ranks: how a socket listens, connects and notices that the other machine is gone.

Owns the options of such sockets. It knows no frame and no secret; channel, meeting and the two ends
in serving/worker use it.
"""

from __future__ import annotations

import socket

LOOPBACK = "127.0.0.1"
_BACKLOG = 64
_QUIET_S = 5
_PROBES = 3


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens at this address and at no other; port 0 takes a free one. Raises
    OSError.
    """
    family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    end = socket.socket(family, socket.SOCK_STREAM)
    try:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # of a dead engine, which may linger
        end.bind(address)
        end.listen(_BACKLOG)
    except OSError:
        end.close()
        raise
    return end


def prompt(end: socket.socket) -> None:
    """Send small frames at once, and notice within 20 s that the other machine is gone."""
    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    end.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    limits = {
        "TCP_KEEPIDLE": _QUIET_S,
        "TCP_KEEPINTVL": _QUIET_S,
        "TCP_KEEPCNT": _PROBES,
        # Nothing is probed while something sent waits to be acknowledged: without this, a quarter of an hour.
        "TCP_USER_TIMEOUT": 1000 * _QUIET_S * (1 + _PROBES),
    }
    for option, value in limits.items():
        if hasattr(socket, option):
            end.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
