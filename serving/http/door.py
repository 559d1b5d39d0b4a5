"""The HTTP listener: completions, models, health, metrics and the document of all of them.

Owns binding, TLS, the table of routes and the order of what happens around every call. It knows no
job; `openai/calls.py` does. The door starts and stops it beside its gRPC servers.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aiohttp import web

from ...core.clock import Clock
from ...core.errors import InvalidSettings, SkipjoinError
from ..door.access import Access
from ..door.shares import Shares
from ..grpc.listeners import tls_context
from ..settings import ServeSettings, split_address
from .answers import json_answer
from .connection import Patience
from .connections import HttpConnections
from .hosts import Hosts
from .middlewares.access_log import AccessLog
from .middlewares.answer_head import AnswerHead
from .middlewares.chain import Middleware, around
from .middlewares.errors import Errors
from .middlewares.identity import Identity
from .middlewares.known_host import KnownHost
from .middlewares.places import Places
from .middlewares.request_id import RequestId
from .middlewares.routes import Route, Routes, route_of
from .openai.answer import dumps
from .openai.calls import OpenAiCalls
from .openapi import document

log = logging.getLogger("skipjoin.door")

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_BACKLOG = 4096
_CUT_OFF_S = 0.05
_SPARE = 16
"""Connections beyond those of open calls: for health, and for refusals."""


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
        clock: Clock,
    ) -> None:
        """Bind `address`; `room` is how many connections there are descriptors for.

        Raises InvalidSettings when it cannot be listened on, or the certificate cannot be used.
        """
        self._calls = calls
        self._insight = insight
        most = min(settings.max_connections, room)
        if room < settings.max_connections:
            log.info("HTTP holds at most %d connections: the limit on open files leaves no more", most)
        shares = Shares(max(1, min(settings.max_streams, most - _SPARE)), access.tenants)
        self._places = Places(shares, settings.call_cap_s, lambda: insight.on_limit("max_streams"))
        hosts = Hosts(split_address(address)[0], settings.allowed_host_names)
        self._tls = tls_context(settings)
        self._socket = _bind(address)
        self.port: int = self._socket.getsockname()[1]
        self._document = dumps(document())
        middlewares: list[Middleware] = [
            AnswerHead(),  # outermost: every answer has this head, an error's too
            RequestId(),  # before all that writes to the log
            AccessLog(clock),  # outside of errors: the line has the status that the caller gets
            Errors(insight.refused),  # around all that may refuse
            KnownHost(
                hosts
            ),  # first of what refuses: a page with a rebound name learns nothing, not even which paths there are
            Routes(self._table()),  # before identity: some paths need none
            Identity(access),  # before a place is taken, and before anything of the body is read
            self._places,  # innermost: its bound and its cap are on the call alone
        ]
        self._connections = HttpConnections(
            around(_call, middlewares),
            most,
            Patience(settings.header_timeout_s, settings.keepalive_s, settings.handshake_timeout_s),
            insight.refused,
            lambda: insight.on_limit("max_connections"),
        )
        self._started = False

    def _table(self) -> dict[str, dict[str, Route]]:
        """What is at which path.

        The public ones say nothing of what this server computes, and for whom.
        """
        return {
            "/v1/completions": {"POST": Route(self._calls.completions)},
            "/v1/chat/completions": {"POST": Route(self._calls.chat)},
            "/v1/models": {"GET": Route(self._models)},
            "/v1/models/": {"GET": Route(self._model)},
            "/metrics": {"GET": Route(self._metrics)},
            "/health": {"GET": Route(self._health, public=True)},
            "/openapi.json": {"GET": Route(self._openapi, public=True)},
        }

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
                    await self._places.all_free()
            except TimeoutError:
                log.warning("%d HTTP calls are cut off", self._places.open)
            await self._connections.end(_CUT_OFF_S)
        self._socket.close()

    # small calls
    # ------------------------------------------------------------------------------------------------
    async def _models(self, request: web.BaseRequest) -> web.StreamResponse:
        return json_answer(self._calls.models())

    async def _model(self, request: web.BaseRequest) -> web.StreamResponse:
        return json_answer(self._calls.model_card(request.path.removeprefix("/v1/models/")))

    async def _metrics(self, request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(body=await self._insight.metrics(), headers={"Content-Type": METRICS_TYPE})

    async def _health(self, request: web.BaseRequest) -> web.StreamResponse:
        healthy = self._insight.healthy()
        return json_answer({"status": "serving" if healthy else "not serving"}, 200 if healthy else 503)

    async def _openapi(self, request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(text=self._document, content_type="application/json")


async def _call(request: web.BaseRequest) -> web.StreamResponse:
    """What the route says; all middlewares are around it."""
    return await route_of(request).call(request)


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
