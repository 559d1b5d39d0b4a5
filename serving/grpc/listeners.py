"""The gRPC listeners: the public port and the operator's socket.

Owns server options, TLS, binding and the socket file's rights. It knows no method. wiring makes the
listeners, the door starts and stops them.
"""

from __future__ import annotations

import os
import socket
import ssl
from pathlib import Path

import grpc
import grpc.aio

from ...core.errors import InvalidSettings
from ..door.descriptors import raise_limit, room_for_connections
from ..settings import ServeSettings
from .rpc import MAX_METADATA_BYTES

SPARE_CALLS = 32
"""Calls that a connection may have open beyond its places: they are there to be refused. What is
beyond those, a client of gRPC keeps to itself.
"""

_PENDING_CALLS = 16_384
"""Calls that gRPC holds until they are taken in. Beyond its own default, 1000, it breaks calls off
at random and without a word.
"""

OPERATORS = 64
"""Connections of the operator's socket."""

_MS = 1000


def public_listener(settings: ServeSettings) -> tuple[grpc.aio.Server, int]:
    """A server bound to `settings.listen`, without handlers yet, and its port.

    Raises InvalidSettings when the address or the certificate cannot be used.
    """
    room = min(settings.max_connections, room_for_connections(raise_limit()))
    server = grpc.aio.server(options=_options(settings, room))
    credentials = _credentials(settings)
    try:
        port = _bind(server, settings.listen, credentials)
    except RuntimeError:
        port = 0
    if port == 0:
        raise InvalidSettings(
            f"{settings.listen} cannot be listened on: the port is taken, or the address is not this machine's.",
            field="listen",
        )
    return server, port


def _bind(server: grpc.aio.Server, address: str, credentials: grpc.ServerCredentials | None) -> int:
    if credentials is None:
        return server.add_insecure_port(address)
    return server.add_secure_port(address, credentials)


def operator_listener(path: Path, settings: ServeSettings) -> grpc.aio.Server:
    """A server on a unix socket that only its owner can open, without handlers yet. Raises
    InvalidSettings.
    """
    if len(os.fsencode(path)) > 100:
        raise InvalidSettings("The path of the admin socket is too long.", field="admin_socket", limit="100 bytes")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _remove_stale(path)
    except OSError as error:
        raise InvalidSettings(f"The admin socket cannot be made: {error.strerror}.", field="admin_socket") from None
    server = grpc.aio.server(options=_options(settings, OPERATORS))
    old = os.umask(0o177)
    try:
        bound = server.add_insecure_port(f"unix:{path}")
    except RuntimeError:
        bound = 0
    finally:
        os.umask(old)
    if bound == 0:
        raise InvalidSettings("The admin socket cannot be made there.", field="admin_socket")
    return server


def _remove_stale(path: Path) -> None:
    """Remove the socket file of a server that died. Raises InvalidSettings when one answers there."""
    if not path.exists():
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(os.fspath(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
        except OSError:
            raise InvalidSettings("The path of the admin socket is taken by a file.", field="admin_socket") from None
        else:
            raise InvalidSettings("Another server answers on the admin socket.", field="admin_socket")


def _options(settings: ServeSettings, connections: int) -> list[tuple[str, int]]:
    return [
        # Without this, two servers could share a port and each would get half of the calls.
        ("grpc.so_reuseport", 0),
        ("grpc.max_receive_message_length", settings.max_message_bytes),
        # A message that unpacks to a thousand times its size passes that bound; rpc.py unpacks,
        # within it.
        ("grpc.per_message_decompression", 0),
        # rpc.py refuses too much metadata with details; this is for what nobody should have to
        # read.
        ("grpc.max_metadata_size", 2 * MAX_METADATA_BYTES),
        ("grpc.absolute_max_metadata_size", 2 * MAX_METADATA_BYTES),
        ("grpc.max_concurrent_streams", min(settings.max_connection_calls, settings.max_streams) + SPARE_CALLS),
        ("grpc.server.max_pending_requests", _PENDING_CALLS),
        ("grpc.server.max_pending_requests_hard_limit", 2 * _PENDING_CALLS),
        # Otherwise it lets clients send ever more of messages that were not asked for, as the link
        # allows.
        ("grpc.http2.bdp_probe", 0),
        # It resets streams of a client that is within its bound, and without a word.
        ("grpc.http.overload_protection", 0),
        ("grpc.enable_channelz", 1),  # counts the calls that have come, for waiting.py
        ("grpc.max_allowed_incoming_connections", connections),
        ("grpc.server_handshake_timeout_ms", max(1, int(settings.handshake_timeout_s * _MS))),
        ("grpc.max_connection_idle_ms", max(1, int(settings.grpc_idle_s * _MS))),
        ("grpc.keepalive_time_ms", 60_000),
        ("grpc.http2.min_ping_interval_without_data_ms", 20_000),
        ("grpc.keepalive_permit_without_calls", 1),
    ]


def tls_context(settings: ServeSettings) -> ssl.SSLContext | None:
    """The server's side of TLS for asyncio, None without. Raises InvalidSettings for files that are
    no certificate and its key.
    """
    if settings.tls_cert is None or settings.tls_key is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        # Without a password at hand, OpenSSL would ask the terminal for that of an encrypted key.
        context.load_cert_chain(settings.tls_cert, settings.tls_key, password=lambda: "")
    except (OSError, ssl.SSLError):
        raise InvalidSettings(
            "The TLS certificate and key do not fit together or cannot be used; the key must not be encrypted.",
            field="tls_cert",
        ) from None
    return context


def _credentials(settings: ServeSettings) -> grpc.ServerCredentials | None:
    if settings.tls_cert is None or settings.tls_key is None:
        return None
    parts: dict[str, bytes] = {}
    for field, path in (("tls_key", settings.tls_key), ("tls_cert", settings.tls_cert)):
        try:
            parts[field] = path.read_bytes()
        except OSError as error:
            raise InvalidSettings(f"The file of {field} cannot be read: {error.strerror}.", field=field) from None
        if b"-----BEGIN" not in parts[field]:
            raise InvalidSettings(f"The file of {field} is not PEM.", field=field)
    tls_context(settings)  # gRPC would call what is wrong with the files a port that cannot be had
    return grpc.ssl_server_credentials([(parts["tls_key"], parts["tls_cert"])])
