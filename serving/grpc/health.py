"""Whether the server serves, for gRPC's health protocol.

Owns the status and those who watch it: `grpc.health.v1.Health` as other calls are made, so that its
watchers have places and its errors details. It decides nothing; the door says.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from google.protobuf.message import Message
from grpc_health.v1 import health_pb2 as pb

from ...core.errors import NotFound
from .rpc import Caller, Streaming, Unary

MAX_CALLS = 100
"""Watchers that are open at a time, and as many other calls; places of their own, for they need no
token.
"""
MAX_BYTES = 4096
"""The longest message: it holds the name of a service."""

_SERVING = pb.HealthCheckResponse.SERVING
_NOT_SERVING = pb.HealthCheckResponse.NOT_SERVING
_messages: Any = pb  # the stubs lack List
_LIST_RESPONSE: Any = _messages.HealthListResponse


class Health:
    """One status under several names, the empty one among them."""

    def __init__(self, *names: str) -> None:
        self._names = frozenset(("", *names))
        self._serving = False
        self._changed = asyncio.Event()

    def methods(self) -> dict[str, Unary | Streaming]:
        """What `Gate.serve` takes."""
        return {"Check": self.check, "Watch": self.watch, "List": self.list}

    def say(self, *, serving: bool) -> None:
        """The status from now on."""
        if serving != self._serving:
            self._serving = serving
            self._changed.set()
            self._changed = asyncio.Event()

    def _status(self) -> pb.HealthCheckResponse:
        return pb.HealthCheckResponse(status=_SERVING if self._serving else _NOT_SERVING)

    async def check(self, request: pb.HealthCheckRequest, caller: Caller) -> pb.HealthCheckResponse:
        """The status now. Raises NotFound for a service that is not here."""
        if request.service not in self._names:
            raise NotFound("There is no such service here.", field="service")
        return self._status()

    async def list(self, request: Message, caller: Caller) -> Message:
        """The status under every name."""
        answer: Message = _LIST_RESPONSE(statuses={name: self._status() for name in self._names})
        return answer

    async def watch(self, request: pb.HealthCheckRequest, caller: Caller) -> AsyncIterator[pb.HealthCheckResponse]:
        """The status now and whenever it changes; SERVICE_UNKNOWN for a service that is not here,
        as the protocol wants.
        """
        caller.taken_in()
        if request.service not in self._names:
            yield pb.HealthCheckResponse(status=pb.HealthCheckResponse.SERVICE_UNKNOWN)
            await asyncio.Event().wait()
        while True:
            changed = self._changed
            yield self._status()
            await changed.wait()
