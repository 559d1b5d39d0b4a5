"""A peer's server: started, waited for, ended.

Owns the port, the wait until it answers, and the words for one that does not come up. It sends no
load; `visit` does, over HTTP.
"""

from __future__ import annotations

import socket
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from http.client import HTTPException
from pathlib import Path

from ...core.clock import MonotonicClock, sleep_s
from ...core.errors import InvalidSettings, Unavailable
from ..load.process import MeasuredProcess
from .catalogue import Machine, Peer, ServeWish, clean_environment
from .home import Home

START_S = 600.0
POLL_S = 0.2
HOST = "127.0.0.1"


def free_port(wanted: int | None) -> int:
    """`wanted`, or one that is free. Raises InvalidSettings when it is taken."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, wanted or 0))
        except OSError as bad:
            raise InvalidSettings(
                f"Port {wanted} cannot be used ({bad.strerror}): end who has it, or leave --port out.", field="port"
            ) from None
        port: int = probe.getsockname()[1]
        return port


class PeerServer(MeasuredProcess):
    """Ready when it lists its models. It is asked to end before it is killed."""

    patience_s = (10.0,)

    def __init__(self, name: str, words: Sequence[str], environment: Mapping[str, str], log: Path, port: int) -> None:
        """`words` is the command that serves on `port`; what it says goes to `log`."""
        super().__init__(name, words, environment, log)
        self.url = f"http://{HOST}:{port}"

    def _wait_until_ready(self) -> None:
        clock = MonotonicClock()
        limit_ns = clock.now_ns() + int(START_S * 1e9)
        # No proxy between us and this machine, whatever http_proxy says.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        while clock.now_ns() < limit_ns:
            self.check()
            try:
                with opener.open(f"{self.url}/v1/models", timeout=5) as answer:
                    if answer.status == 200:
                        return
            except urllib.error.HTTPError as bad:
                bad.close()
            except (HTTPException, OSError):
                pass  # not there yet, or not ready yet
            sleep_s(POLL_S)
        raise Unavailable(f"{self.name} did not answer within {START_S:g} s; {self.fate(None)}")


def peer_server(peer: Peer, wish: ServeWish, threads: int, kv_gib: int) -> PeerServer:
    """The peer's own. Raises InvalidSettings when it only decodes or is not installed."""
    if peer.serve is None:
        raise InvalidSettings(f"{peer.name} has no server; `bench engine` compares with it.", field="peer")
    home = Home(peer)
    home.require()
    words = [str(home.python), *peer.serve(wish)]
    wanted = peer.environment(Machine(threads, kv_gib, home.prefix, home.kept))
    return PeerServer(peer.name, words, clean_environment(threads, wanted), home.log, wish.port)
