"""A wall before the servicers: bytes that are no message are refused with a reason, and our errors become statuses.

Owns `guarded`, which wraps a grpc.aio server for `add_*_to_server`. Without it gRPC answers UNKNOWN with a class name for
malformed bytes, before any interceptor sees them. It knows no method; serving and the tests' servers use it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Any, cast

import grpc
import grpc.aio
from google.protobuf.message import DecodeError

from ..core.errors import InternalError, InvalidInput, SkipjoinError
from .status import abort_args

_Context = Any  # grpc.aio.ServicerContext of whatever method
_MALFORMED = "The request is no valid message: it is truncated, or a string in it is not UTF-8."
_BUG = "The server made an error of its own; its log says more."


class _Malformed:
    """Stands for a request that could not be read."""


def guarded(server: grpc.aio.Server, on_bug: Callable[[BaseException], None]) -> grpc.aio.Server:
    """`server` for `add_*_to_server`: handlers abort with typed statuses.

    A SkipjoinError that a servicer raises becomes its status. Anything else is our bug: `on_bug` hears of it, the client gets INTERNAL
    without a word of it.
    """
    return cast(grpc.aio.Server, _GuardedServer(server, on_bug))


class _GuardedServer:
    def __init__(self, server: grpc.aio.Server, on_bug: Callable[[BaseException], None]) -> None:
        self._server = server
        self._on_bug = on_bug

    def add_generic_rpc_handlers(self, handlers: Sequence[Any]) -> None:
        """Nothing: the same methods come by `add_registered_method_handlers`, and gRPC asks generic handlers first."""

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        """Take a service's methods, each behind the wall."""
        walled = {name: _walled(handler, self._on_bug) for name, handler in handlers.items()}
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, walled),))


def _walled(handler: Any, on_bug: Callable[[BaseException], None]) -> Any:
    if handler.request_streaming:
        raise InternalError("Calls with streamed requests are not part of this service.")
    read = _reader(handler.request_deserializer)
    if handler.response_streaming:
        return grpc.unary_stream_rpc_method_handler(
            _stream(handler.unary_stream, on_bug), read, handler.response_serializer
        )
    return grpc.unary_unary_rpc_method_handler(_single(handler.unary_unary, on_bug), read, handler.response_serializer)


def _reader(deserialize: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    def read(data: bytes) -> Any:
        try:
            return deserialize(data)
        except (DecodeError, ValueError):
            return _Malformed()

    return read


def _single(
    method: Callable[[Any, _Context], Awaitable[Any]], on_bug: Callable[[BaseException], None]
) -> Callable[[Any, _Context], Awaitable[Any]]:
    async def call(request: Any, context: _Context) -> Any:
        try:
            if isinstance(request, _Malformed):
                raise InvalidInput(_MALFORMED)
            return await method(request, context)
        except (asyncio.CancelledError, grpc.aio.AbortError):
            raise
        except SkipjoinError as error:
            await context.abort(*abort_args(error))
        except Exception as error:  # noqa: BLE001 - the last wall: a bug must become a status, not a traceback on the wire
            on_bug(error)
            await context.abort(*abort_args(InternalError(_BUG)))

    return call


def _stream(
    method: Callable[[Any, _Context], AsyncGenerator[Any, None]], on_bug: Callable[[BaseException], None]
) -> Callable[[Any, _Context], AsyncIterator[Any]]:
    async def call(request: Any, context: _Context) -> AsyncIterator[Any]:
        try:
            if isinstance(request, _Malformed):
                raise InvalidInput(_MALFORMED)
            async with aclosing(method(request, context)) as responses:
                async for response in responses:
                    yield response
        except (asyncio.CancelledError, grpc.aio.AbortError):
            raise
        except SkipjoinError as error:
            await context.abort(*abort_args(error))
        except Exception as error:  # noqa: BLE001 - as above
            on_bug(error)
            await context.abort(*abort_args(InternalError(_BUG)))

    return call
