"""The HTTP listener: completions, models, health and metrics.

Owns binding, TLS, routes, who may call, and how an error looks on this wire. It knows no job; `openai.py` does. The door starts and stops it beside
its gRPC servers.
"""

from __future__ import annotations

import asyncio
import logging
import math
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aiohttp import web

from ..core.errors import (
    DeadlineExceeded,
    InternalError,
    InvalidInput,
    InvalidSettings,
    NotFound,
    Overloaded,
    SkipjoinError,
)
from ..core.ids import TenantId
from ..proto.status import http_status
from .access import Access
from .listeners import tls_context
from .openai import OpenAiCalls
from .openai_answer import dumps, error_body
from .settings import ServeSettings, split_address

log = logging.getLogger("skipjoin.door")

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_BACKLOG = 1024
_UNAVAILABLE_RETRY_S = 1
_MAX_LINE = 8190
_CUT_OFF_S = 0.05

Call = Callable[[web.Request, TenantId], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Insight:
    """What HTTP says of the server: whether it serves, and its metrics as text."""

    healthy: Callable[[], bool]
    metrics: Callable[[], Awaitable[bytes]]
    refused: Callable[[SkipjoinError], None]


class HttpDoor:
    """A listener bound at construction; `start` and `stop` are the door's."""

    def __init__(
        self, settings: ServeSettings, address: str, access: Access, calls: OpenAiCalls, insight: Insight
    ) -> None:
        """Bind `address`. Raises InvalidSettings when it cannot be listened on, or the certificate cannot be used."""
        self._access = access
        self._calls = calls
        self._insight = insight
        self._cap_s = settings.call_cap_s
        self._max_open = settings.max_streams
        self._open = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._tls = tls_context(settings)
        self._socket = _bind(address)
        self.port: int = self._socket.getsockname()[1]
        app = web.Application(client_max_size=settings.max_message_bytes)
        app.router.add_post("/v1/completions", self._handler(calls.completions))
        app.router.add_post("/v1/chat/completions", self._handler(calls.chat))
        app.router.add_get("/v1/models", self._handler(self._models))
        app.router.add_get("/v1/models/{model:.+}", self._handler(self._model))
        app.router.add_get("/metrics", self._handler(self._metrics))
        app.router.add_get("/health", self._health)
        app.router.add_route("*", "/{path:.*}", self._nothing)
        app.on_response_prepare.append(_sign)
        # A client that goes cancels its handler, so that nothing computes for nobody.
        self._runner = web.AppRunner(
            app,
            handler_cancellation=True,
            access_log=None,
            logger=_quiet(),
            shutdown_timeout=_CUT_OFF_S,
            max_line_size=_MAX_LINE,
            max_field_size=_MAX_LINE,
        )
        self._site: web.SockSite | None = None

    async def start(self) -> None:
        """Listen."""
        await self._runner.setup()
        self._site = web.SockSite(self._runner, self._socket, ssl_context=self._tls, backlog=_BACKLOG)
        await self._site.start()

    async def stop(self, grace_s: float) -> None:
        """Take nothing new, give open calls `grace_s` to end, close."""
        if self._site is not None:
            await self._site.stop()
            try:
                async with asyncio.timeout(grace_s):
                    await self._idle.wait()
            except TimeoutError:
                log.warning("%d HTTP calls are cut off", self._open)
            await self._runner.cleanup()
        self._socket.close()

    # every call -------------------------------------------------------------------------------------------------
    def _handler(self, call: Call) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def handle(request: web.Request) -> web.StreamResponse:
            try:
                tenant = self._access.tenant(request.headers.get("Authorization"))
                return await self._bounded(call, request, tenant)
            except SkipjoinError as error:
                said = error
            except web.HTTPRequestEntityTooLarge as error:
                said = InvalidInput("The body is larger than this server takes.", field="body", limit=_limit(error))
                self._insight.refused(said)
                return _refusal(said, 413)
            except web.HTTPException:
                raise
            except ConnectionResetError:
                raise
            except Exception:
                # The text of an unknown exception may hold anything: it goes to the log, not to the caller.
                log.exception("a call failed")
                said = InternalError("The server failed at this call; it is logged there.")
            self._insight.refused(said)
            begun = self._calls.begun(request)
            return _refusal(said) if begun is None else await self._calls.broken_off(begun, said)

        return handle

    async def _bounded(self, call: Call, request: web.Request, tenant: TenantId) -> web.StreamResponse:
        if self._open >= self._max_open:
            raise Overloaded("Too many HTTP calls are open.", retry_after_s=1.0, limit=f"{self._max_open} calls")
        self._open += 1
        self._idle.clear()
        try:
            async with asyncio.timeout(self._cap_s) as cap:
                return await call(request, tenant)
        except TimeoutError:
            if not cap.expired():
                raise
            raise DeadlineExceeded(f"No call lasts longer than {self._cap_s:g} s here.") from None
        finally:
            self._open -= 1
            if not self._open:
                self._idle.set()

    # small calls ------------------------------------------------------------------------------------------------
    async def _models(self, request: web.Request, tenant: TenantId) -> web.StreamResponse:
        return _json(self._calls.models())

    async def _model(self, request: web.Request, tenant: TenantId) -> web.StreamResponse:
        return _json(self._calls.model_card(request.match_info["model"]))

    async def _metrics(self, request: web.Request, tenant: TenantId) -> web.StreamResponse:
        return web.Response(body=await self._insight.metrics(), headers={"Content-Type": METRICS_TYPE})

    async def _health(self, request: web.Request) -> web.StreamResponse:
        healthy = self._insight.healthy()
        return _json({"status": "serving" if healthy else "not serving"}, 200 if healthy else 503)

    async def _nothing(self, request: web.Request) -> web.StreamResponse:
        known = {resource.canonical for resource in request.app.router.resources()}
        if request.path in known:
            said = InvalidInput(f"This path does not take {request.method[:10]}.", field="method")
            return _refusal(said, 405)
        return _refusal(NotFound("There is nothing at this path.", field="path"))


def _quiet() -> logging.Logger:
    """aiohttp writes a traceback for every malformed request, which anybody can send; our own errors are logged by the handlers."""
    logger = logging.getLogger("skipjoin.http")
    logger.setLevel(logging.CRITICAL)
    return logger


async def _sign(request: web.Request, response: web.StreamResponse) -> None:
    """Without this, aiohttp tells every caller its and Python's version."""
    response.headers["Server"] = "skipjoin"


def _json(value: object, status: int = 200) -> web.Response:
    return web.Response(text=dumps(value), status=status, content_type="application/json")


def _refusal(error: SkipjoinError, status: int | None = None) -> web.Response:
    status = http_status(type(error)) if status is None else status
    response = _json(error_body(error), status)
    if isinstance(error, Overloaded):
        response.headers["Retry-After"] = str(math.ceil(error.retry_after_s))
    elif status == 503:
        response.headers["Retry-After"] = str(_UNAVAILABLE_RETRY_S)
    elif status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


def _limit(error: web.HTTPRequestEntityTooLarge) -> str | None:
    digits = "".join(char for char in (error.text or "").partition("exceeded")[0] if char.isdigit())
    return f"{digits} bytes" if digits else None


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
