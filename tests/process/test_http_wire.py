"""What the HTTP door says to bytes that are no good request: always its own JSON, whoever finds the
fault, and never Python's words.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator

import pytest
from http_client import HTTP, Answer, call, http_port, raw
from process_server import Server

Serve = Callable[..., Server]
PATH = b"/v1/completions"
BODY = b'{"prompt": "x", "max_tokens": 1}'


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for all tests that leave it as it was."""
    flags = (
        "--max-message-bytes",
        "100000",
        "--header-timeout-s",
        "0.5",
        "--body-timeout-s",
        "0.5",
        "--allowed-hosts",
        "nas.example, box",
    )
    made = Server(tmp_path_factory.mktemp("wire"), *HTTP, *flags).start()
    yield made
    made.stop()


@pytest.fixture
def port(server: Server) -> int:
    return http_port(server)


def _answers(data: bytes) -> list[Answer]:
    """Every answer in the bytes of a connection; what is no answer fails."""
    found = []
    while data:
        head, end, data = data.partition(b"\r\n\r\n")
        assert end, head
        first, *lines = head.decode("latin-1").split("\r\n")
        version, status, _ = first.split(" ", 2)
        assert version in ("HTTP/0.9", "HTTP/1.0", "HTTP/1.1"), first
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        length = int(headers["content-length"])
        assert len(data) >= length
        found.append(Answer(int(status), headers, data[:length]))
        data = data[length:]
    return found


def _check(answer: Answer) -> None:
    assert answer.headers["server"] == "skipjoin", answer
    assert answer.headers["content-type"].startswith("application/json"), answer
    error = answer.json["error"]
    assert set(error) >= {"message", "type", "param", "code"}
    for words in ("Traceback", "b'", 'b"', "0x", "aiohttp", "Python", "<class", "object at", "Error("):
        assert words not in error["message"], error
    assert 400 <= answer.status < 500, answer


def _request(
    method: bytes = b"POST", path: bytes = PATH, *headers: bytes, body: bytes = b"", version: bytes = b"HTTP/1.1"
) -> bytes:
    return b"\r\n".join([method + b" " + path + b" " + version, b"Host: localhost", *headers, b"", b""]) + body


JSON = b"Content-Type: application/json"
CASES = {
    "tls": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 50, 400),
    "long path": (_request(b"GET", b"/" + b"a" * 100_000), 414),
    "header of 3 MB": (_request(b"GET", b"/health", b"X: " + b"a" * 3_000_000), 431),
    "long path, little by little": (_request(b"GET", b"/" + b"a" * 9_000), 414),
    "long header": (_request(b"GET", b"/health", b"X: " + b"a" * 100_000), 431),
    "header over 8 KiB": (_request(b"GET", b"/health", b"X: " + b"a" * 8_300), 431),
    "long header name": (_request(b"GET", b"/health", b"a" * 9_000 + b": x"), 431),
    "many headers": (_request(b"GET", b"/health", *(b"X-%d: 1" % i for i in range(500))), 431),
    "headers of 1 MB": (_request(b"GET", b"/health", *(b"X-%d: " % i + b"a" * 8000 for i in range(120))), 431),
    "negative length": (_request(b"POST", PATH, JSON, b"Content-Length: -5"), 400),
    "length that is no number": (_request(b"POST", PATH, JSON, b"Content-Length: five"), 400),
    "huge length": (_request(b"POST", PATH, JSON, b"Content-Length: 99999999999999999999999"), 400),
    "large length": (_request(b"POST", PATH, JSON, b"Content-Length: 100001"), 413),
    "two lengths": (_request(b"POST", PATH, JSON, b"Content-Length: 5", b"Content-Length: 6", body=b"12345"), 400),
    "smuggling": (
        _request(b"POST", PATH, JSON, b"Content-Length: 5", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n"),
        400,
    ),
    "bad chunk": (_request(b"POST", PATH, JSON, b"Transfer-Encoding: chunked", body=b"zz\r\n{}\r\n0\r\n\r\n"), 400),
    "huge chunk": (_request(b"POST", PATH, JSON, b"Transfer-Encoding: chunked", body=b"ffffffffffffffffff\r\n"), 400),
    "chunk without end": (_request(b"POST", PATH, JSON, b"Transfer-Encoding: chunked", body=b"2\r\n{}x0\r\n\r\n"), 400),
    "chunked too large": (
        _request(b"POST", PATH, JSON, b"Transfer-Encoding: chunked", body=b"20000\r\n" + b" " * 0x20000),
        413,
    ),
    "crumbs": (_request(b"POST", PATH, JSON, b"Transfer-Encoding: chunked", body=b"1\r\nx\r\n" * 20_000), 400),
    "crumbs with names": (
        _request(b"POST", PATH, JSON, b"Transfer-Encoding: chunked", body=b"01;a=b\r\nx\r\n" * 20_000),
        400,
    ),
    "gzip as transfer": (_request(b"POST", PATH, JSON, b"Transfer-Encoding: gzip, chunked", body=b"0\r\n\r\n"), 400),
    "gzip": (_request(b"POST", PATH, JSON, b"Content-Encoding: gzip", b"Content-Length: 3", body=b"abc"), 415),
    "gzip, chunked": (
        _request(
            b"POST", PATH, JSON, b"Content-Encoding: br", b"Transfer-Encoding: chunked", body=b"1\r\nx\r\n0\r\n\r\n"
        ),
        415,
    ),
    "two codings": (
        _request(b"POST", PATH, JSON, b"Content-Encoding: identity, zstd", b"Content-Length: 3", body=b"abc"),
        415,
    ),
    "two coding headers": (
        _request(
            b"POST",
            PATH,
            JSON,
            b"Content-Encoding: identity",
            b"Content-Encoding: deflate",
            b"Content-Length: 3",
            body=b"abc",
        ),
        (400, 415),
    ),
    "expectation": (_request(b"POST", PATH, JSON, b"Expect: tea", b"Content-Length: 3", body=b"abc"), 417),
    "no body": (_request(b"POST", PATH, JSON), 400),
    "no type": (_request(b"POST", PATH, b"Content-Length: 2", body=b"{}"), 400),
    "type of two": (
        _request(b"POST", PATH, b"Content-Type: multipart/form-data; boundary=x", b"Content-Length: 2", body=b"{}"),
        400,
    ),
    "http2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    "http3": (_request(b"GET", b"/health", version=b"HTTP/3.0"), 400),
    "http0": (b"GET /health\r\n\r\n", 400),
    "version that is none": (_request(b"GET", b"/health", version=b"FTP/1.1"), 400),
    "noise": (b"\r\n\r\n\x00\xff", 400),
    "method that is none": (_request(b"TEAPOT!", b"/health"), 400),
    "lower-case method": (_request(b"get", b"/health"), 400),
    "other method": (_request(b"DELETE", b"/health"), 405),
    "webdav": (_request(b"PROPFIND", b"/v1/models"), 405),
    "trace": (_request(b"TRACE", b"/health"), 405),
    "preflight": (
        _request(b"OPTIONS", PATH, b"Origin: http://evil.example", b"Access-Control-Request-Method: POST"),
        405,
    ),
    "options of all": (_request(b"OPTIONS", b"*"), 404),
    "connect": (b"CONNECT evil.example:443 HTTP/1.1\r\nHost: localhost\r\n\r\n", (403, 404, 405)),
    "upgrade": (
        _request(b"GET", b"/nothing", b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Key: x"),
        404,
    ),
    "h2c": (_request(b"GET", b"/nothing", b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c"), 404),
    "old websocket": (_request(b"GET", b"/health", b"Sec-WebSocket-Key1: x"), 400),
    "header without colon": (_request(b"GET", b"/health", b"nonsense"), 400),
    "header with a null": (_request(b"GET", b"/health", b"X: a\x00b"), 400),
    "folded header": (_request(b"GET", b"/health", b"X: a", b" b"), 400),
    "header name with a blank": (_request(b"GET", b"/health", b"X y: a"), 400),
    "bare newlines": (b"GET /health HTTP/1.1\nHost: localhost\n\n", 400),
    "refused with a long body": (
        _request(b"POST", b"/nothing", JSON, b"Content-Length: 3000000", body=b"x" * 3_000_000),
        404,
    ),
    "path that is no utf-8": (_request(b"GET", b"/\xff\xfe"), (400, 404)),
    "path with escapes": (_request(b"GET", b"/%ff%00%zz"), 404),
    "path that climbs": (_request(b"GET", b"/../../etc/passwd"), 404),
    "authority without path": (_request(b"GET", b"http://"), 400),
    "space in path": (_request(b"GET", b"/a b"), 400),
    "nothing there": (_request(b"GET", b"/v1/nothing"), 404),
    "no model": (_request(b"GET", b"/v1/models/other"), 404),
    "no host": (b"GET /health HTTP/1.1\r\n\r\n", 400),
    "two hosts": (_request(b"GET", b"/health", b"Host: localhost"), 400),
}


@pytest.mark.parametrize("name", CASES)
def test_bytes_that_are_no_good_request_get_json(port: int, name: str) -> None:
    data, status = CASES[name]
    said = _answers(raw(port, data.replace(b"Host: localhost\r\n", b"Host: localhost\r\nConnection: close\r\n", 1)))
    assert said, "no answer"
    for answer in said:
        _check(answer)
    assert said[0].status in (status if isinstance(status, tuple) else (status,)), said
    assert call(port, "/health").status == 200


def test_bytes_one_by_one_are_the_same_request(port: int) -> None:
    data = _request(b"POST", PATH, JSON, b"Connection: close", b"Content-Length: %d" % len(BODY), body=BODY)
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        for i in range(len(data)):
            connection.sendall(data[i : i + 1])
        said = b"".join(iter(lambda: connection.recv(65536), b""))
    assert _answers(said)[0].status == 200


@pytest.mark.parametrize("size", [b"1", b"001", b"0" * 40 + b"01"])
def test_a_body_in_crumbs_is_refused_however_their_size_is_written(port: int, size: bytes) -> None:
    data = _request(
        b"POST", PATH, JSON, b"Transfer-Encoding: chunked", body=(size + b"\r\n \r\n") * 6000 + b"0\r\n\r\n"
    )
    assert b"too many small chunks" in raw(port, data)


def test_a_body_in_a_thousand_chunks_is_the_same_request(port: int) -> None:
    body = b"".join(b"1\r\n%c\r\n" % byte for byte in BODY + b" " * 1000) + b"0\r\n\r\n"
    said = _answers(
        raw(port, _request(b"POST", PATH, JSON, b"Connection: close", b"Transfer-Encoding: chunked", body=body))
    )
    assert [answer.status for answer in said] == [200]


def test_requests_on_one_connection_are_answered_in_turn(port: int) -> None:
    get = _request(b"GET", b"/health")
    said = _answers(raw(port, get * 40 + _request(b"GET", b"/nothing", b"Connection: close")))
    assert [answer.status for answer in said] == [200] * 40 + [404]


def test_a_client_that_expects_is_told_to_go_on_and_one_that_is_refused_is_not(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        head = (JSON, b"Expect: 100-continue", b"Connection: close", b"Content-Length: %d" % len(BODY))
        connection.sendall(_request(b"POST", PATH, *head))
        first = connection.recv(65536)
        assert first == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(BODY)
        assert _answers(b"".join(iter(lambda: connection.recv(65536), b"")))[0].status == 200
    refused = raw(port, _request(b"POST", PATH, JSON, b"Expect: 100-continue", b"Content-Length: 100001"))
    assert [answer.status for answer in _answers(refused)] == [413]


def test_a_head_or_a_body_that_does_not_come_is_told_so(port: int) -> None:
    late = _answers(raw(port, b"GET /health HT"))
    assert [(answer.status, answer.json["error"]["param"]) for answer in late] == [(408, "headers")]
    late = _answers(raw(port, _request(b"POST", PATH, JSON, b"Content-Length: 30", body=b'{"prompt"')))
    assert [(answer.status, answer.json["error"]["param"]) for answer in late] == [(408, "body")]
    for answer in late:
        _check(answer)
    assert raw(port, b"") == b""


def test_a_head_that_comes_byte_by_byte_has_the_same_deadline(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        said = b""
        for byte in _request(b"GET", b"/health", b"X: " + b"a" * 400):
            try:
                connection.sendall(bytes([byte]))
            except OSError:
                break
            time.sleep(0.01)
        said = connection.recv(65536)
    assert _answers(said)[0].status == 408


GOOD = (
    "localhost",
    "LOCALHOST:1",
    "localhost.",
    "127.0.0.1",
    "127.0.0.1:50080",
    "[::1]",
    "[::1]:80",
    "nas.example",
    "BOX:8080",
    "nas.example.",
)
BAD = (
    "evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "evil.example:50080", "localhost@evil.example",
    "0.0.0.0", "[::]",
    "192.168.1.5", "localhost evil.example", "localhost,evil.example", "localhost:evil", "2130706433", "a.nas.example",
    "", "localhost..", ".",
    "[::1", "http://localhost", "localhost/",
)  # fmt: skip


@pytest.mark.parametrize("path", ["/health", "/v1/models", "/metrics", "/nothing"])
def test_only_names_of_this_machine_are_answered_to(port: int, path: str) -> None:
    for host in GOOD:
        assert call(port, path, host=host).status in (200, 404), host
    for host in BAD if path == "/health" else BAD[:2]:
        answer = call(port, path, host=host)
        assert answer.status in (400, 403), host
        _check(answer)


def test_the_host_in_the_target_counts_too(port: int) -> None:
    for target, status in (
        (b"http://localhost/health", 200),
        (b"http://127.0.0.1:80/health", 200),
        (b"http://evil.example/health", 403),
        (b"http://localhost@evil.example/health", 403),
        (b"http://evil.example:80?/health", 403),
    ):
        said = _answers(raw(port, _request(b"GET", target, b"Connection: close")))
        assert [answer.status for answer in said] == [status], target
    assert _answers(raw(port, b"GET /health HTTP/1.0\r\n\r\n"))[0].status == 200
    assert _answers(raw(port, b"GET /health HTTP/1.0\r\nHost: evil.example\r\n\r\n"))[0].status == 403


def test_a_post_from_another_site_is_refused_before_its_body(port: int) -> None:
    answer = call(port, "/v1/completions", json.loads(BODY), host="evil.example")
    assert (answer.status, answer.json["error"]["param"]) == (403, "Host")
