"""Attacks on the HTTP door, with a bystander in a process of its own: its longest wait and the
door's memory are what is judged.
"""

from __future__ import annotations

import hashlib
import resource
import socket
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import process_server
import pytest
from bystander import bystander, door_memory
from http_client import HTTP, call, figures, http_port
from process_server import Server, spec

from skipjoin.proto import job_pool_pb2 as pb

Serve = Callable[..., Server]
pytestmark = pytest.mark.alone
LONGEST_S = 0.5
GROWN_BYTES = 200 * 2**20
JSON = b"Content-Type: application/json"


def _request(*headers: bytes, body: bytes = b"", path: bytes = b"/v1/completions") -> bytes:
    head = [b"POST " + path + b" HTTP/1.1", b"Host: localhost", JSON, *headers]
    return b"\r\n".join([*head, b"Content-Length: %d" % len(body), b"", b""]) + body


def _status(port: int, data: bytes) -> int:
    """Send what can be sent; answer the status, 0 for a connection that was closed without one."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        with suppress(OSError):
            connection.sendall(data)
        try:
            first = connection.recv(65536)
        except OSError:
            return 0
    return int(first.split(b" ", 2)[1]) if first else 0


@contextmanager
def _many(port: int, number: int, say: bytes = b"") -> Iterator[list[socket.socket]]:
    """So many connections of this process that say no more than that."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, number + 500)), hard))
    held: list[socket.socket] = []
    try:
        for _ in range(number):
            held.append(socket.create_connection(("127.0.0.1", port), timeout=30))
            with suppress(OSError):
                held[-1].sendall(say)
        yield held
    finally:
        for connection in held:
            connection.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture
def tokens(tmp_path: Path) -> Path:
    """A tokens file of two tenants; a token is TENANT-key."""
    file = tmp_path / "tokens"
    file.write_text("".join(f"{t} {hashlib.sha256(f'{t}-key'.encode()).hexdigest()}\n" for t in ("red", "blue")))
    return file


def test_bodies_that_would_unpack_to_much_are_never_unpacked(serve: Serve, tokens: Path) -> None:
    server = serve(*HTTP, "--tokens", str(tokens))
    port = http_port(server)
    packer = zlib.compressobj(9, wbits=31)
    bomb = b"".join(packer.compress(bytes(2**20)) for _ in range(256)) + packer.flush()
    codings = (b"gzip", b"deflate", b"br", b"zstd", b"gzip, gzip", b"identity, gzip")
    chunk = b"%x\r\n" % len(bomb) + bomb + b"\r\n"
    with (
        bystander(server, "completion", token="red-key") as seen,
        door_memory(server.pid) as memory,
        ThreadPoolExecutor(4) as threads,
    ):
        found = []
        for shown, status in ((b"X: none", 401), (b"Authorization: Bearer red-key", 415)):
            for coding in codings:
                head = (shown, b"Content-Encoding: " + coding)
                chunked = b"\r\n".join([b"POST /v1/completions HTTP/1.1", b"Host: localhost", JSON, *head])
                found += [
                    (status, threads.submit(_status, port, _request(*head, body=bomb))),
                    (status, threads.submit(_status, port, _request(*head, body=bomb * 4))),
                    (
                        status,
                        threads.submit(_status, port, chunked + b"\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk),
                    ),
                ]
        assert [future.result() for _, future in found] == [status for status, _ in found]
    assert seen.failures == 0, seen
    assert seen.longest_s <= LONGEST_S, seen
    assert memory.grown_bytes <= GROWN_BYTES, memory


def test_connections_that_say_nothing_shut_nobody_out(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    limited = ("/bin/sh", "-c", 'ulimit -n 1024; exec "$@"', "sh", *process_server.COMMAND)
    monkeypatch.setattr(process_server, "COMMAND", limited)
    server = serve(*HTTP, "--restart-backoff-s", "0.1")
    port = http_port(server)
    with bystander(server) as seen, door_memory(server.pid) as memory:
        for say in (b"", b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: a"):
            with _many(port, 1400, say):
                time.sleep(0.3)
    assert seen.failures == 0, seen
    assert seen.longest_s <= LONGEST_S, seen
    assert memory.grown_bytes <= GROWN_BYTES, memory
    with _many(port, 1400), server.stub() as stub:
        # The reserve is there: an engine is started again, and the other door answers.
        server.kill_engine()
        job = stub.Submit(pb.SubmitRequest(spec=spec("x", 2)), timeout=30).job
        assert list(stub.Stream(pb.StreamRequest(job_id=job.job_id), timeout=60))[-1].chunk.finish.output_tokens == 2
    log = server.log.read_text()
    assert 1 <= log.count("HTTP connections are in use") < 100
    assert len(log) < 20_000
    assert dict(figures(port))['skipjoin_limits_reached_total{limit="max_connections"}'] > 1000


def test_a_door_without_descriptors_goes_on(serve: Serve) -> None:
    server = serve(*HTTP)
    port = http_port(server)
    resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (300, 300))
    with bystander(server) as seen, _many(port, 700):
        time.sleep(1.0)
    assert seen.failures == 0, seen
    assert seen.longest_s <= LONGEST_S, seen
    assert len(server.log.read_text()) < 20_000


def _until(end: float, once: Callable[[], int], into: Counter[int]) -> None:
    while time.monotonic() < end:
        into[once()] += 1


def test_large_prompts_of_many_are_bounded_and_their_memory_is_given_back(serve: Serve, tokens: Path) -> None:
    server = serve(*HTTP, "--tokens", str(tokens))
    port = http_port(server)
    prompt = b'{"prompt": "' + b"all work and no play " * 195_000 + b'"}'
    assert 4.0e6 < len(prompt) < 4 * 2**20
    shown, stranger = _request(b"Authorization: Bearer red-key", body=prompt), _request(body=prompt)
    answers: Counter[int] = Counter()
    strangers: Counter[int] = Counter()
    with bystander(server, "completion", token="blue-key") as seen, door_memory(server.pid) as memory:
        end = time.monotonic() + 4
        threads = [
            threading.Thread(target=_until, args=(end, lambda: _status(port, shown), answers)) for _ in range(12)
        ]
        for thread in threads:
            thread.start()
        with ThreadPoolExecutor(16) as pool:
            strangers.update(pool.map(lambda _: _status(port, stranger), range(150)))
        for thread in threads:
            thread.join()
    assert set(answers) <= {400, 429}, answers
    assert set(strangers) == {401}, strangers
    assert seen.failures == 0, seen
    assert seen.longest_s <= 1.0, (seen, answers)
    assert memory.grown_bytes <= GROWN_BYTES, (memory, answers)
    time.sleep(1.1)  # a page of metrics is a second old at most
    assert dict(figures(port, authorization="Bearer blue-key"))["skipjoin_payload_bytes"] == 0


def _costly(values: int) -> Sequence[bytes]:
    """Bodies of which a byte costs much: values by the million, strings of escapes, numbers of
    thousands of digits.
    """
    return (
        b'{"prompt":[' + b"1," * (values // 2) + b"1]}",
        b'{"prompt":[' + b"[]," * (values // 3) + b"1]}",
        b'{"prompt":"' + b"\\n" * (values // 2) + b'"}',
        b'{"prompt":[' + b'"\\\\",' * (values // 5) + b"1]}",
        ("{" + ",".join(f'"{i:x}":1' for i in range(values // 10)) + "}").encode(),
        b'{"prompt":[' + (b"1" * 4299 + b",") * (values // 4301) + b"1]}",
        b"[" * values,
        b'{"a":' * (values // 5),
    )


def test_bodies_of_which_a_byte_costs_much_hold_nobody_up(serve: Serve) -> None:
    server = serve(*HTTP)
    port = http_port(server)
    bodies = [_request(body=body) for body in _costly(4 * 10**6)]
    head = b"\r\n".join(
        [b"POST /v1/completions HTTP/1.1", b"Host: localhost", JSON, b"Transfer-Encoding: chunked", b"", b""]
    )
    bodies += [head + b"1\r\nx\r\n" * 10**6] * 4
    with bystander(server) as seen, door_memory(server.pid) as memory, ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda body: _status(port, body), bodies * 2))
    assert set(found) <= {400, 429}, found
    assert seen.failures == 0, seen
    assert seen.longest_s <= LONGEST_S, seen
    assert memory.grown_bytes <= GROWN_BYTES, memory


def test_half_sent_bodies_and_bytes_one_by_one_hold_nobody_up(serve: Serve, tokens: Path) -> None:
    server = serve(*HTTP, "--tokens", str(tokens), "--max-streams", "40", "--body-timeout-s", "2")
    port = http_port(server)
    half = _request(b"Authorization: Bearer red-key", body=b"x" * 10_000)[:-5000]
    with bystander(server, "completion", token="blue-key") as seen:
        with _many(port, 120, half) as held:
            for _ in range(20):
                for connection in held[:40]:
                    with suppress(OSError):
                        connection.sendall(b"x")
                time.sleep(0.05)
            assert call(port, "/health").status == 200
            refused = call(port, "/v1/models", authorization="Bearer red-key")
            assert (refused.status, refused.json["error"]["code"]) == (429, "overloaded")
            time.sleep(2.0)
        assert call(port, "/v1/models", authorization="Bearer red-key").status == 200
    assert seen.failures == 0, seen
    assert seen.longest_s <= LONGEST_S, seen
