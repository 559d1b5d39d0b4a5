"""Where the servers are and how a channel to one is opened.

Owns the reading of targets, the transport parameters (TLS, bearer token) and gRPC's channel
options. It makes no call. Both clients use it. Several targets must be doors of one job pool: a
call that fails on one goes on at the next.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address

import grpc
import grpc.aio

from ..core.errors import InvalidInput

DEFAULT_TARGET = "127.0.0.1:50071"
MAX_RECEIVE_BYTES = 64 << 20

_OPTIONS: tuple[tuple[str, int | str], ...] = (
    ("grpc.max_receive_message_length", MAX_RECEIVE_BYTES),
    # A dead peer is found within 40 s, while a call is open only.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    # Retries are ours (client/retry.py); gRPC's own would multiply with them.
    ("grpc.enable_retries", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    # A client of its own has connections of its own.
    ("grpc.use_local_subchannel_pool", 1),
)


@dataclass(frozen=True, slots=True)
class TlsParams:
    """TLS towards the servers. `root_pem` None: the system's roots. `cert_pem` and `key_pem` go
    together: mutual TLS.
    """

    root_pem: bytes | None = None
    cert_pem: bytes | None = None
    key_pem: bytes | None = field(default=None, repr=False)
    server_name: str | None = None

    def __post_init__(self) -> None:
        if (self.cert_pem is None) != (self.key_pem is None):
            raise InvalidInput("A client certificate needs its key, and a key its certificate.", field="tls")


@dataclass(frozen=True, slots=True)
class Transport:
    """How to reach the targets. Raises InvalidInput for a target that is none.

    A `token` is sent in plain text only to this machine, unless `insecure` says that the network is
    trusted.
    """

    targets: tuple[str, ...]
    tls: TlsParams | None = None
    token: str | None = field(default=None, repr=False)
    insecure: bool = False

    def __post_init__(self) -> None:
        if not self.targets:
            raise InvalidInput("There must be at least one target.", field="target")
        for target in self.targets:
            local = is_local(target)
            if self.token is not None and self.tls is None and not local and not self.insecure:
                raise InvalidInput(
                    f"A token would go to {target} in plain text: use TLS, or say that the network is trusted "
                    "(insecure).",
                    field="target",
                )
        if self.token is not None and not (self.token.isascii() and self.token.isprintable() and self.token.strip()):
            raise InvalidInput("The token must be printable ASCII.", field="token")

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What every call carries."""
        return () if self.token is None else (("authorization", f"Bearer {self.token}"),)

    def open(self, target: str) -> grpc.Channel:
        """A channel without asyncio; connects when it is first used."""
        if self.tls is None:
            return grpc.insecure_channel(target, options=self._options())
        return grpc.secure_channel(target, self._credentials(), options=self._options())

    def open_aio(self, target: str) -> grpc.aio.Channel:
        """A channel for asyncio; connects when it is first used."""
        if self.tls is None:
            return grpc.aio.insecure_channel(target, options=self._options())
        return grpc.aio.secure_channel(target, self._credentials(), options=self._options())

    def _options(self) -> list[tuple[str, int | str]]:
        options = list(_OPTIONS)
        if self.tls is not None and self.tls.server_name is not None:
            options.append(("grpc.ssl_target_name_override", self.tls.server_name))
        return options

    def _credentials(self) -> grpc.ChannelCredentials:
        assert self.tls is not None
        return grpc.ssl_channel_credentials(self.tls.root_pem, self.tls.key_pem, self.tls.cert_pem)


def read_targets(targets: str | Sequence[str]) -> tuple[str, ...]:
    """Targets from a list or a comma-separated string; each is HOST:PORT or unix:PATH."""
    listed = targets.split(",") if isinstance(targets, str) else list(targets)
    return tuple(target.strip() for target in listed if target.strip())


def is_local(target: str) -> bool:
    """Whether a target is on this machine. Raises InvalidInput when it is neither HOST:PORT nor
    unix:PATH.
    """
    if target.startswith("unix:") and len(target) > len("unix:"):
        return True
    host, colon, port = target.rpartition(":")
    if not colon or not host or not port.isdigit() or not 1 <= int(port) <= 65535 or "/" in host:
        raise InvalidInput(f"{target!r} is no target.", field="target", limit="HOST:PORT or unix:PATH")
    if host == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
