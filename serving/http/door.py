"""The HTTP listener: completions, models, health and metrics.

Owns binding, TLS, routes, who may call, how many calls may be open, and what becomes of an error. It knows no job; `openai.py` does.
The door starts and stops it beside its gRPC servers.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aiohttp import HttpVersion10, HttpVersion11, web

from ...core.errors import (
    DeadlineExceeded,
    InternalError,
    InvalidInput,
    InvalidSettings,
    NotFound,
    Overloaded,
    SkipjoinError,
)
from ...core.ids import DEFAULT_TENANT, TenantId
from ..door.access import BY_HEADER, Access
from ..door.shares import Shares
from ..grpc.listeners import tls_context
from ..settings import ServeSettings, split_address
from .answers import SERVER, Refused, json_answer, refusal
from .connection import HttpConnection, Patience
from .connections import HttpConnections
from .hosts import Hosts
from .openai import OpenAiCalls

log = logging.getLogger("skipjoin.door")

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_PUBLIC = frozenset({"/health"})
"""Paths that need no token and take no call's place."""
_BACKLOG = 4096
_CUT_OFF_S = 0.05
_LAST_WORD_S = 5.0
_SPARE = 16
"""Connections beyond those of open calls: health is answered and a refusal said when all calls are in use."""

Call = Callable[[web.BaseRequest, TenantId], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Insight:
    """What HTTP says of the server and to its metrics."""

    healthy: Callable[[], bool]
    metrics: Callable[[], Awaitable[bytes]]
    refused: Callable[[SkipjoinError], None]
    on_limit: Callable[[str], None]


class HttpDoor:
    """A listener bound at construction; `start` and `stop` are the door's."""

    def __init__(
        self,
        settings: ServeSettings,
        address: str,
        access: Access,
        calls: OpenAiCalls,
        insight: Insight,
        room: int,
    ) -> None:
        """Bind `address`; `room` is how many connections there are descriptors for.

        Raises InvalidSettings when it cannot be listened on, or the certificate cannot be used.
        """
        self._access = access
        self._calls = calls
        self._insight = insight
        self._cap_s = settings.call_cap_s
        most = min(settings.max_connections, room)
        if room < settings.max_connections:
            log.info("HTTP holds at most %d connections: the limit on open files leaves no more", most)
        self._places = Shares(max(1, min(settings.max_streams, most - _SPARE)), access.tenants)
        self._hosts = Hosts(split_address(address)[0], settings.allowed_host_names)
        self._idle = asyncio.Event()
        self._idle.set()
        self._tls = tls_context(settings)
        self._socket = _bind(address)
        self.port: int = self._socket.getsockname()[1]
        self._routes: dict[str, dict[str, Call]] = {
            "/v1/completions": {"POST": calls.completions},
            "/v1/chat/completions": {"POST": calls.chat},
            "/v1/models": {"GET": self._models},
            "/metrics": {"GET": self._metrics},
            "/health": {"GET": self._health},
        }
        self._connections = HttpConnections(
            self._handle,
            most,
            Patience(settings.header_timeout_s, settings.keepalive_s, settings.handshake_timeout_s),
            insight.refused,
            lambda: insight.on_limit("max_connections"),
        )
        self._started = False

    async def start(self) -> None:
        """Listen."""
        self._connections.accept(self._socket, self._tls)
        self._started = True

    async def stop(self, grace_s: float) -> None:
        """Take nothing new, give open calls `grace_s` to end, close."""
        if self._started:
            self._connections.stop_accepting()
            self._socket.close()
            try:
                async with asyncio.timeout(grace_s):
                    await self._idle.wait()
            except TimeoutError:
                log.warning("%d HTTP calls are cut off", self._places.total)
            await self._connections.end(_CUT_OFF_S)
        self._socket.close()

    # every call -------------------------------------------------------------------------------------------------
    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        answer = await self._answer(request)
        if not answer.prepared:
            # Without this, aiohttp tells every caller its and Python's version.
            answer.headers["Server"] = SERVER
            if not request.content.is_eof():
                answer.force_close()  # what comes of the body is thrown away for a moment, so that the answer is read
        return answer

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            if request.version not in (HttpVersion10, HttpVersion11):
                raise InvalidInput("This server speaks HTTP/1.1.", field="request")
            self._hosts.check(request.headers.getall("Host", ()), request.raw_path)
            call = self._call(request)
            if request.path in _PUBLIC:
                return await call(request, DEFAULT_TENANT)
            # Before anything of the body is read.
            tenant = self._access.tenant(request.headers.get("Authorization"), BY_HEADER)
            return await self._bounded(call, request, tenant)
        except (SkipjoinError, Refused) as error:
            # With its traceback it would be in a circle with this frame, and keep the request's bytes until the collector comes.
            said = error.with_traceback(None)
        except ConnectionError:
            raise
        except Exception:
            if request.transport is None:
                raise ConnectionResetError("The client went.") from None
            # The text of an unknown exception may hold anything: it goes to the log, not to the caller.
            log.exception("a call failed")
            said = InternalError("The server failed at this call; it is logged there.")
        plain = said.error if isinstance(said, Refused) else said
        self._insight.refused(plain)
        begun = self._calls.begun(request)
        return refusal(said) if begun is None else await self._last_word(request, begun, plain)

    async def _bounded(self, call: Call, request: web.BaseRequest, tenant: TenantId) -> web.StreamResponse:
        if not self._places.fits(tenant):
            self._insight.on_limit("max_streams")
            limit = f"{self._places.largest(tenant)} calls"
            raise Overloaded("Too many HTTP calls are open.", retry_after_s=1.0, limit=limit)
        self._places.take(tenant)
        self._idle.clear()
        try:
            async with asyncio.timeout(self._cap_s) as cap:
                return await call(request, tenant)
        except TimeoutError:
            if not cap.expired():
                raise
            raise DeadlineExceeded(f"No call lasts longer than {self._cap_s:g} s here.") from None
        finally:
            self._places.give_back(tenant)
            if not self._places.total:
                self._idle.set()

    async def _last_word(
        self, request: web.BaseRequest, begun: web.StreamResponse, said: SkipjoinError
    ) -> web.StreamResponse:
        """End an answer that has begun. A client that does not read is not waited for."""
        try:
            async with asyncio.timeout(_LAST_WORD_S):
                return await self._calls.broken_off(begun, said)
        except TimeoutError:
            connection = request.protocol
            assert isinstance(connection, HttpConnection)
            connection.abort()
            raise ConnectionResetError("The client does not read.") from None

    # small calls ------------------------------------------------------------------------------------------------
    def _call(self, request: web.BaseRequest) -> Call:
        """What answers this path and method. Raises NotFound, Refused."""
        path = request.path
        methods = self._routes.get(path)
        if methods is None and path.startswith("/v1/models/") and path != "/v1/models/":
            methods = {"GET": self._model}
        if methods is None:
            raise NotFound("There is nothing at this path.", field="path")
        method = "GET" if request.method == "HEAD" else request.method
        if method not in methods:
            allowed = ", ".join(methods)
            said = InvalidInput(f"This path does not take {request.method[:10]}.", field="method", limit=allowed)
            raise Refused(said, 405, {"Allow": allowed})
        return methods[method]

    async def _models(self, request: web.BaseRequest, tenant: TenantId) -> web.StreamResponse:
        return json_answer(self._calls.models())

    async def _model(self, request: web.BaseRequest, tenant: TenantId) -> web.StreamResponse:
        return json_answer(self._calls.model_card(request.path.removeprefix("/v1/models/")))

    async def _metrics(self, request: web.BaseRequest, tenant: TenantId) -> web.StreamResponse:
        return web.Response(body=await self._insight.metrics(), headers={"Content-Type": METRICS_TYPE})

    async def _health(self, request: web.BaseRequest, tenant: TenantId) -> web.StreamResponse:
        healthy = self._insight.healthy()
        return json_answer({"status": "serving" if healthy else "not serving"}, 200 if healthy else 503)


def _bind(address: str) -> socket.socket:
    host, port = split_address(address)
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, where = found[0]
        return socket.create_server(where[:2], family=family, backlog=_BACKLOG)
    except OSError as error:
        said = (error.strerror or "the address is not known").partition(" (while")[0]
        raise InvalidSettings(
            f"{address} cannot be listened on for HTTP: {said}.",
            field="http_listen",
        ) from None
