"""The contenders of a live comparison: our server under each policy, and the peer's.

Owns the flags that make them alike: device, precision, threads, slots, room for KV. It sends no load; `visit` does.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ...core.errors import InvalidSettings, Unavailable
from ...executor.config import ModelConfig
from ..peers.catalogue import Peer
from ..peers.server import free_port, peer_server
from ..server import OwnServer
from .scenario import Scenario
from .visit import Contender

FLOAT32_BYTES = 4
PAGE_TOKENS = 16


def kv_tokens(config: ModelConfig, gib: int) -> int:
    """Tokens whose keys and values, in float32, take so many GiB; whole pages."""
    token_bytes = 2 * config.layers * config.kv_heads * config.head_dim * FLOAT32_BYTES
    return (gib << 30) // token_bytes // PAGE_TOKENS * PAGE_TOKENS


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
        machine = (scenario.threads, scenario.kv_gib)
        with peer_server(peer, model, free_port(port), machine, scenario.slots, scenario.context_tokens) as server:
            yield server.url
            server.check()

    return Contender(peer.name, False, serve)
