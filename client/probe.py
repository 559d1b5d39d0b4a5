"""What answers at an address where a call found no server of ours, told by its first bytes.

Owns one short look over a plain socket: whether TLS or plain text, HTTP/1 or HTTP/2 is spoken
there, and the sentence that says the cure. gRPC tells all of them as one broken connection, and a
client would try again until its time is over. It makes no call; both clients ask it once.
"""

from __future__ import annotations

import socket
import ssl

from ..core.clock import Clock, MonotonicClock
from ..core.errors import Unavailable
from .connection import TlsParams

LOOK_S = 2.0
_HTTP2 = (
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
)  # the preface, and empty settings
_SETTINGS = 4
_TLS_RECORDS = {0x15, 0x16}
_HTTP_PORT = "gRPC has a port of its own, --listen of `skipjoin serve` (50071 unless set)"


class _Until:
    """The end of a look, for all its connections together."""

    def __init__(self, clock: Clock, end_ns: int) -> None:
        self._clock = clock
        self._end_ns = end_ns

    @classmethod
    def after(cls, seconds: float) -> _Until:
        clock = MonotonicClock()
        return cls(clock, clock.now_ns() + int(seconds * 1e9))

    def half(self) -> _Until:
        """The end of the first of two questions."""
        now_ns = self._clock.now_ns()
        return _Until(self._clock, now_ns + (self._end_ns - now_ns) // 2)

    def left_s(self) -> float:
        """Raises TimeoutError when nothing is left."""
        left_s = (self._end_ns - self._clock.now_ns()) / 1e9
        if left_s <= 0:
            raise TimeoutError
        return left_s


def look(target: str, tls: TlsParams | None, within_s: float = LOOK_S) -> Unavailable | None:
    """What is wrong with the address, or with how it is spoken to; None when nothing is, or no one
    listens.

    Blocks for `within_s` at most, all connections together, and for as long as the system takes to
    find a name's addresses.
    """
    if target.startswith("unix:"):
        return None
    try:
        until = _Until.after(within_s)
        return _in_plain_text(target, until) if tls is None else _with_tls(target, tls, until)
    except OSError:
        return None


def _in_plain_text(target: str, until: _Until) -> Unavailable | None:
    said = _first_bytes(target, until.half())
    if (said[:1] and said[0] in _TLS_RECORDS) or (not said and _handshake(target, until) is not None):
        return _wrong(
            target, f"{target} speaks TLS: use it too (--tls, or --tls-ca FILE; `tls=TlsParams(...)` in Python).", "tls"
        )
    if said and not _is_grpc(said):
        return _wrong(target, f"{target} speaks HTTP/1 or something else, and not gRPC: {_HTTP_PORT}.")
    return None


def _with_tls(target: str, tls: TlsParams, until: _Until) -> Unavailable | None:
    protocol = _handshake(target, until.half())
    if protocol is None:
        said = _first_bytes(target, until)
        if said and not _is_grpc(said):
            return _wrong(
                target, f"{target} speaks HTTP/1 or something else in plain text, and not gRPC: {_HTTP_PORT}."
            )
        if said:
            return _wrong(
                target,
                f"{target} speaks no TLS: leave it out here, or start the server with --tls-cert and --tls-key.",
                "tls",
            )
        return None
    if protocol != "h2":
        return _wrong(target, f"{target} speaks TLS, but not gRPC: {_HTTP_PORT}.")
    refusal = _distrust(target, tls, until)
    if refusal is None:
        return None
    return Unavailable(
        f"The certificate of {target} is not trusted: {refusal}. Name the roots that it is signed by with --tls-ca."
    )


def _wrong(target: str, said: str, field: str = "target") -> Unavailable:
    return Unavailable(said, field=field)


def _is_grpc(said: bytes) -> bool:
    """Whether the first bytes are HTTP/2's settings; what speaks HTTP/1 may answer a page without a
    status line.
    """
    return said[3:4] == bytes((_SETTINGS,))


def _connect(target: str, until: _Until) -> socket.socket:
    """Raises OSError when none of the name's addresses answers."""
    host, _, port = target.rpartition(":")
    refused = OSError("no address")
    for *_, address in socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM):
        try:
            connection = socket.create_connection((str(address[0]), int(address[1])), timeout=until.left_s())
        except OSError as error:
            refused = error
            continue
        try:
            connection.settimeout(until.left_s())
        except TimeoutError:
            connection.close()
            raise
        return connection
    raise refused


def _first_bytes(target: str, until: _Until) -> bytes:
    """What a server says to a client of HTTP/2 in plain text; nothing when it hangs up."""
    with _connect(target, until) as connection:
        try:
            connection.sendall(_HTTP2)
            return connection.recv(64)
        except OSError:
            return b""


def _handshake(target: str, until: _Until) -> str | None:
    """The protocol that a TLS server agreed to, "" for none; None when it speaks no TLS. No secret
    goes over this connection.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    try:
        with _connect(target, until) as plain, context.wrap_socket(plain) as secure:
            return secure.selected_alpn_protocol() or ""
    except (ssl.SSLError, ConnectionError, TimeoutError):
        return None


def _distrust(target: str, tls: TlsParams, until: _Until) -> str | None:
    """Why the server's certificate is not trusted; None when it is, or something else is wrong."""
    try:
        roots = None if tls.root_pem is None else tls.root_pem.decode("ascii")
        context = ssl.create_default_context(cadata=roots)
        host = tls.server_name or target.rpartition(":")[0].strip("[]")
        with _connect(target, until) as plain, context.wrap_socket(plain, server_hostname=host):
            return None
    except ssl.SSLCertVerificationError as error:
        return error.verify_message
    except (OSError, ValueError):
        return None
