"""Blows at random moments under load, then peace, and the ledger must agree.

Owns the crew of clients, the pauses between blows and the check at the end. What a blow is the test
says: the death of an engine, of a door, of a rank.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from ledger import Ledger
from process_server import Server
from soak_client import Client


def kill_rounds(
    server: Server,
    folder: Path,
    blows: Sequence[Callable[[], object]],
    *,
    clients: int = 4,
    longest: int = 60,
    seed: int = 1,
    quiet_s: tuple[float, float] = (0.05, 0.8),
) -> None:
    """All `blows` in random order; nothing acknowledged may be lost, no token missed or repeated."""
    rng = random.Random(seed)
    ledger = Ledger(folder / "ledger.jsonl")
    crew = [Client(f"c{i}", lambda: server.port, ledger, longest=longest, seed=seed * 1000 + i) for i in range(clients)]
    for client in crew:
        client.start()
    for blow in rng.sample(blows, len(blows)):
        time.sleep(rng.uniform(*quiet_s))
        blow()
        errors = [repr(client.error) for client in crew if client.error is not None]
        assert not errors, errors
    for client in crew:
        client.finish()
    for client in crew:
        client.join(120)
        assert not client.is_alive(), f"{client.name} hangs"
        assert client.error is None, client.error
    with server.stub() as stub:
        counts = ledger.check(stub)
    ledger.close()
    assert counts["acked"] == sum(client.jobs for client in crew) > 0
    print(f"{len(blows)} blows, {counts}, retries {sum(client.retries for client in crew)}")


def soak_rounds(default: int) -> int:
    """Blows in all; SKIPJOIN_SOAK_KILLS says another number."""
    return int(os.environ.get("SKIPJOIN_SOAK_KILLS", str(default)))
