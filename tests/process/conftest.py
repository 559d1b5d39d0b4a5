"""Servers for the process tests; none outlives its test."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # process_server and ledger, beside this file

from process_server import Server

MakeServer = Callable[..., Server]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[MakeServer]:
    """Start servers in a folder of this test."""
    made: list[Server] = []

    def start(*flags: str, folder: str = "server", simulated: bool = True) -> Server:
        place = tmp_path / folder
        place.mkdir(exist_ok=True)
        server = Server(place, *flags, simulated=simulated)
        made.append(server)
        return server.start()

    yield start
    for server in made:
        server.stop()
