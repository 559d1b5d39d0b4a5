"""From an address to a `Target`.

Owns the choice between gRPC and HTTP and the reading of the bearer token. It asks the server for a
model's name at most. The command calls it inside its event loop.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from ...client import AsyncClient, RetryParams, TlsParams
from ...core.clock import Clock
from ...core.errors import InvalidInput
from .metrics_page import MetricsPage
from .openai_target import OpenAiTarget, first_model
from .skipjoin_target import SkipjoinTarget
from .target import Target

RETRY = RetryParams(give_up_s=5.0)
"""A person who measures a server that is not there hears of it soon."""

PATIENCE_S = 3600.0
"""A server that is alive sends something within an hour, however long its queue; one that hangs is
told as a failure of each request."""


@dataclass(frozen=True, slots=True)
class Address:
    """Which server is measured."""

    #: "skipjoin" or "openai".
    kind: str
    url: str
    #: None: the server's first.
    model: str | None = None
    metrics_url: str | None = None
    token_file: str | None = None
    tls_ca: str | None = None
    tls: bool = False


@asynccontextmanager
async def connected(address: Address, clock: Clock) -> AsyncIterator[Target]:
    """A target, closed when the block ends. Raises InvalidInput, Unavailable."""
    if address.token_file is None:
        token = os.environ.get("SKIPJOIN_TOKEN") or None
    else:
        token = _read(address.token_file, "token_file").decode("utf-8", "replace").strip()
    target: Target
    if address.kind == "openai":
        if not address.url.startswith(("http://", "https://")):
            raise InvalidInput("--url must be http://HOST:PORT or https://HOST:PORT.", field="url")
        url = address.url.rstrip("/").removesuffix("/v1")
        model = address.model if address.model is not None else await first_model(url, token)
        target = OpenAiTarget(url, model, clock, token, patience_s=PATIENCE_S)
    else:
        tls = TlsParams() if address.tls else None
        if address.tls_ca is not None:
            tls = TlsParams(root_pem=_read(address.tls_ca, "tls_ca"))

        def connect() -> AsyncClient:
            return AsyncClient(address.url, token=token, tls=tls, retry=RETRY)

        await connect().close()  # refuses a bad address now
        metrics = None if address.metrics_url is None else MetricsPage(address.metrics_url)
        target = SkipjoinTarget(connect, clock, metrics)
    try:
        yield target
    finally:
        await target.close()


def _read(file: str, field: str) -> bytes:
    try:
        return Path(file).read_bytes()
    except OSError as error:
        raise InvalidInput(f"{Path(file).name} cannot be read: {error.strerror}.", field=field) from None
