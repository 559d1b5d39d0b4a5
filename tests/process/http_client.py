"""HTTP calls of a test: the standard library's client, and a raw socket for what it would not send."""

from __future__ import annotations

import http.client
import json
import re
import socket
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from process_server import Server

_PORT = re.compile(r"HTTP \S+?:(\d+)")
HTTP = ("--http-listen", "127.0.0.1:0")


def http_port(server: Server) -> int:
    """The HTTP port that the start line names."""
    found = _PORT.search(server.start_line)
    assert found is not None, server.start_line
    return int(found[1])


@dataclass(frozen=True)
class Answer:
    """Status, headers in lower case, body."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)

    @property
    def events(self) -> list[Any]:
        """The body as server-sent events, without comments; the end mark is the string [DONE]."""
        found = []
        for block in self.body.decode("utf-8").split("\n\n"):
            if block and not block.startswith(":"):
                assert block.startswith("data: ") and "\n" not in block, block
                data = block.removeprefix("data: ")
                found.append(data if data == "[DONE]" else json.loads(data))
        return found


def call(port: int, path: str, body: object = None, *, method: str | None = None, **headers: str) -> Answer:
    """One call; a body that is no bytes is sent as JSON."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if body is not None:
            sent.setdefault("content-type", "application/json")
        data = body if isinstance(body, (bytes, type(None))) else json.dumps(body).encode()
        connection.request(method or ("GET" if body is None else "POST"), path, data, sent)
        response = connection.getresponse()
        return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())


def raw(port: int, data: bytes, *, close_after: int = 0) -> bytes:
    """Send bytes; answer all that comes, or hang up after `close_after` bytes."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(data)
        got = b""
        while not (close_after and len(got) >= close_after):
            more = connection.recv(65536)
            if not more:
                break
            got += more
        return got


def post(path: str, body: object) -> bytes:
    """A POST as bytes on the wire."""
    data = json.dumps(body).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: "
        f"{len(data)}\r\n\r\n"
    )
    return head.encode() + data


def figures(port: int, **headers: str) -> Iterator[tuple[str, float]]:
    """Samples of /metrics."""
    for line in call(port, "/metrics", **headers).body.decode().splitlines():
        if not line.startswith("#"):
            name, _, value = line.rpartition(" ")
            yield name, float(value)
