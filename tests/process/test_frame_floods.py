"""What no gRPC client sends, in floods: a bystander is served meanwhile, an operator is answered,
and the door keeps its memory.
"""

from __future__ import annotations

import itertools
import json
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from bystander import bystander, door_memory
from http2_client import (
    CONTINUATION,
    END_HEADERS,
    HEADERS,
    PING,
    SETTINGS,
    call_and_reset,
    call_headers,
    flood,
    frame,
)
from http_client import HTTP, http_port
from process_server import Server

Serve = Callable[..., Server]
pytestmark = pytest.mark.alone
FLOOD_S = 2.0
LONGEST_S = 0.5
HEADERS_S = 2.0
"""gRPC makes Python objects of half a million fields before any code of the door is asked."""
GROWN_BYTES = 200 << 20
SUBMIT = "/skipjoin.v1.JobPoolService/Submit"
CERTIFICATE = """openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout key.pem
    -out cert.pem -days 2 -subj /CN=localhost -addext subjectAltName=IP:127.0.0.1,DNS:localhost"""


def _resets() -> Iterator[bytes]:
    """Calls that are taken back in the same breath."""
    block = call_headers(SUBMIT)
    for number in itertools.count():
        yield call_and_reset(block, range(1 + 100 * number, 101 + 100 * number, 2))


def _pings() -> Iterator[bytes]:
    return itertools.repeat(200 * frame(PING, 0, 0, b"12345678"))


def _settings() -> Iterator[bytes]:
    return itertools.repeat(200 * frame(SETTINGS))


def _unfinished() -> Iterator[bytes]:
    """More calls than a connection may have open, and never a message."""
    block = call_headers(SUBMIT)
    for number in itertools.count():
        yield b"".join(
            frame(HEADERS, END_HEADERS, stream, block) for stream in range(1 + 100 * number, 101 + 100 * number, 2)
        )


def _endless_headers() -> Iterator[bytes]:
    """A header block without an end. The client never acknowledges gRPC's limit, so that gRPC takes
    in half a million fields before it stops keeping them.
    """
    fields = 2_500 * b"\x00\x01a\x01b"
    yield frame(HEADERS, 0, 1, call_headers(SUBMIT))
    yield from itertools.repeat(10 * frame(CONTINUATION, 0, 1, fields))


@pytest.mark.parametrize("pieces", [_resets, _pings, _settings, _unfinished, _endless_headers])
def test_a_flood_of_frames_hurts_neither_bystander_nor_operator(
    serve: Serve, pieces: Callable[[], Iterator[bytes]]
) -> None:
    server = serve()
    attack = threading.Thread(target=flood, args=(server.port, FLOOD_S, pieces))
    with bystander(server, "submit") as seen, door_memory(server.pid) as memory:
        attack.start()
        said = [_admin(server, *words) for words in (("status",), ("jobs", "--limit", "3"))]
        attack.join()
    assert said[0]["engine_ready"], said
    assert said[1]["jobs"], said
    assert (seen.failures, seen.reasons) == (0, [])
    assert seen.longest_s <= (HEADERS_S if pieces is _endless_headers else LONGEST_S), seen
    assert memory.grown_bytes <= GROWN_BYTES, memory


def _admin(server: Server, *words: str) -> dict[str, object]:
    """What an operator is answered while the flood lasts."""
    command = [sys.executable, "-m", "skipjoin.cli", "admin", *words, "--json", "--socket", str(server.admin)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    said: dict[str, object] = json.loads(done.stdout)
    return said


@pytest.mark.parametrize("door", ["gRPC", "HTTP"])
def test_handshakes_that_stop_half_way_keep_nobody_out(serve: Serve, tmp_path: Path, door: str) -> None:
    subprocess.run(CERTIFICATE.split(), cwd=tmp_path, capture_output=True, check=True)
    cert = tmp_path / "cert.pem"
    server = serve("--tls-cert", str(cert), "--tls-key", str(tmp_path / "key.pem"), *HTTP)
    port = server.port if door == "gRPC" else http_port(server)
    hello = _client_hello()
    ask = "submit" if door == "gRPC" else "health"
    with bystander(server, ask, ca=cert) as seen, door_memory(server.pid) as memory, ExitStack() as held:
        for number in range(400):
            begun = held.enter_context(socket.create_connection(("127.0.0.1", port)))
            begun.sendall(hello if number % 2 else hello[:7])
        time.sleep(0.5)
    assert (seen.failures, seen.reasons) == (0, [])
    assert seen.longest_s <= LONGEST_S, seen
    assert memory.grown_bytes <= GROWN_BYTES, memory


def _client_hello() -> bytes:
    context = ssl.create_default_context()
    context.set_alpn_protocols(["h2", "http/1.1"])
    sent = ssl.MemoryBIO()
    begun = context.wrap_bio(ssl.MemoryBIO(), sent, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        begun.do_handshake()
    return sent.read()
