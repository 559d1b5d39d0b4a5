"""Clients that speak the wrong protocol, or to the wrong port, hear at once what to do; they do not
try again until their time is over.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc
import pytest

from skipjoin.client import RetryParams, TlsParams, calls
from skipjoin.client.probe import look
from skipjoin.core import errors as e

PATIENT = RetryParams(give_up_s=600.0)  # a client that tried again would not end within the test's time
OPENSSL = """openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout key.pem
    -out cert.pem -days 2 -subj /CN=localhost -addext subjectAltName=IP:127.0.0.1,DNS:localhost"""


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(OPENSSL.split(), cwd=folder, check=True, capture_output=True)
    return folder


@contextlib.contextmanager
def http_server(pair: Path | None = None) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    server.RequestHandlerClass.log_message = lambda *_: None  # type: ignore[method-assign]
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    if pair is not None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(pair / "cert.pem", pair / "key.pem")
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def _tls_door(new_door: Callable[..., Any], pair: Path) -> str:
    key, cert = (pair / "key.pem").read_bytes(), (pair / "cert.pem").read_bytes()
    target: str = new_door().start(credentials=grpc.ssl_server_credentials([(key, cert)]))
    return target


def _said(drive: Any, target: str, tls: TlsParams | None = None) -> str:
    settings = {"tls": tls, "retry": PATIENT, "timeout_s": 300.0}
    said = []
    for ask in (
        lambda: drive.call(target, "get", "0" * 32, settings=dict(settings)),
        lambda: drive.result(target, "x", settings=dict(settings)),
    ):
        with pytest.raises(e.Unavailable) as failed:
            ask()
        said.append(failed.value.message)
    assert said[0] == said[1]
    assert target in said[0]
    return said[0]


@pytest.mark.timeout(60)
def test_each_wrong_way_to_speak_says_its_cure_at_once(drive: Any, new_door: Callable[..., Any], pair: Path) -> None:
    trusting = TlsParams(root_pem=(pair / "cert.pem").read_bytes())
    secure, plain = _tls_door(new_door, pair), new_door().start()
    assert "speaks TLS: use it too" in _said(drive, secure)
    assert "speaks no TLS: leave it out" in _said(drive, plain, trusting)
    assert "is not trusted: self" in _said(drive, secure, TlsParams())
    with http_server() as http:
        assert "and not gRPC: gRPC has a port of its own" in _said(drive, http)
        assert "in plain text, and not gRPC" in _said(drive, http, trusting)
    with http_server(pair) as https:
        assert "speaks TLS: use it too" in _said(drive, https)
        assert "speaks TLS, but not gRPC" in _said(drive, https, trusting)


def test_a_look_finds_nothing_wrong_where_nothing_is(new_door: Callable[..., Any], pair: Path) -> None:
    trusting = TlsParams(root_pem=(pair / "cert.pem").read_bytes())
    assert look(new_door().start(), None) is None
    assert look(_tls_door(new_door, pair), trusting) is None
    assert look("unix:/nowhere", None) is None
    assert look("no-such-host.invalid:1", None) is None
    with socket.create_server(("127.0.0.1", 0)) as listener:
        dead = f"127.0.0.1:{listener.getsockname()[1]}"
    assert look(dead, None) is None
    assert look(dead, trusting) is None


@pytest.mark.timeout(60)
@pytest.mark.parametrize("tls", [None, TlsParams()])
def test_a_look_takes_no_longer_than_the_call_has_left(tls: TlsParams | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "LOOK_S", 600.0)  # so the call's own time is what ends it, before this test's
    with socket.create_server(("127.0.0.1", 0)) as silent:  # the kernel takes the connections, and no answer comes
        client = calls.Calls(f"127.0.0.1:{silent.getsockname()[1]}", tls=tls)
        assert client._look(0, client._attempts(0.3)) is None


def test_a_server_that_is_not_there_is_named_with_what_to_run(drive: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        dead = f"127.0.0.1:{listener.getsockname()[1]}"
    with pytest.raises(e.Unavailable, match="skipjoin serve") as failed:
        drive.call(dead, "get", "x", settings={"retry": RetryParams(give_up_s=0.0)})
    assert dead in failed.value.message
    assert failed.value.code == "UNAVAILABLE"
