"""The contenders of a live comparison: our server under each policy, and the peer's.

Owns the flags that make them alike, device, precision, slots and room for KV, and the threads of each. It sends no load; `visit` does.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ...core.errors import InvalidSettings, SkipjoinError, Unavailable
from ...model.config import ModelConfig
from ..kv_room import kv_tokens
from ..peers.catalogue import Peer
from ..peers.server import free_port, peer_server
from ..server import OwnServer
from .scenario import Scenario
from .visit import Contender


def own_contender(policy: str, model: Path, config: ModelConfig, scenario: Scenario) -> Contender:
    """Our server under `policy`, its job pool durable as always."""
    room = str(kv_tokens(config, scenario.kv_gib))
    flags = [
        *("--model", str(model), "--policy", policy, "--device", "cpu", "--dtype", "float32"),
        *("--threads", str(scenario.threads), "--max-batch", str(scenario.slots)),
        *("--kv-tokens", room, "--host-kv-tokens", room),
    ]

    @contextmanager
    def serve() -> Iterator[str]:
        with tempfile.TemporaryDirectory(prefix="skipjoin-bench-") as folder, OwnServer(Path(folder), flags) as server:
            if server.http_url is None:
                raise Unavailable("Our server has no HTTP door, which this comparison goes through.")
            yield server.http_url

    return Contender(policy, True, serve)


def peer_contender(peer: Peer, model: Path, scenario: Scenario, port: int | None) -> Contender:
    """The peer's server, on `port` or on one that is free each time. Raises InvalidSettings for a port that is taken."""
    if scenario.policies and peer.name in scenario.policies:
        raise InvalidSettings(f"{peer.name} names a policy and a peer.", field="policies")
    free_port(port)

    @contextmanager
    def serve() -> Iterator[str]:
        machine = (scenario.peer_threads, scenario.kv_gib)
        with peer_server(peer, model, free_port(port), machine, scenario.slots, scenario.context_tokens) as server:
            try:
                yield server.url
            except SkipjoinError:
                server.check()  # one that has died says why, and not only that nobody answers
                raise
            server.check()

    return Contender(peer.name, False, serve)
