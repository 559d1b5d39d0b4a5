"""How a gRPC call is taken in and answered, whatever it asks.

Owns what all calls share: malformed bytes are INVALID_ARGUMENT, a caller has a tenant, nothing outlasts the server's cap, and every error is a typed
status with details. It knows no method; servicers give it plain coroutines and generators.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol, TypeVar

import grpc
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from ..core.errors import DeadlineExceeded, InternalError, InvalidInput, SkipjoinError
from ..core.ids import TenantId
from ..proto.status import abort_args
from .access import Access

log = logging.getLogger("skipjoin.door")

_MALFORMED = object()
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls; `tenant` None is the operator."""

    tenant: TenantId | None


class Context(Protocol):
    """The part of grpc.aio's servicer context that is used here."""

    def invocation_metadata(self) -> Any: ...
    def time_remaining(self) -> float | None: ...
    async def write(self, message: Message) -> None: ...
    async def abort(self, code: grpc.StatusCode, details: str, trailing_metadata: Any) -> NoReturn: ...


Identify = Callable[[Any], Caller]
Unary = Callable[[Any, Caller], Awaitable[Message]]
Streaming = Callable[[Any, Caller], AsyncIterator[Message]]
Refused = Callable[[SkipjoinError], None]


def by_token(access: Access) -> Identify:
    """A caller is whom its bearer token names. Raises Unauthenticated."""

    def identify(metadata: Any) -> Caller:
        shown = next((value for key, value in metadata or () if key == "authorization"), None)
        return Caller(access.tenant(shown if isinstance(shown, str) else None))

    return identify


def operator(_: Any) -> Caller:
    """Whoever reaches the operator's socket is the operator: the file's rights guard it."""
    return Caller(None)


def service_handler(
    service: ServiceDescriptor,
    methods: dict[str, Unary | Streaming],
    identify: Identify,
    cap_s: float,
    refused: Refused = lambda error: None,
) -> grpc.GenericRpcHandler:
    """A handler for all methods of a service; `refused` hears every error that is answered.

    Raises KeyError when one is missing: a server must not start half.
    """
    table: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}
    for method in service.methods:
        function = methods[method.name]
        read = _reader(GetMessageClass(method.input_type))
        if method.server_streaming:
            table[method.name] = grpc.unary_stream_rpc_method_handler(
                _streaming(function, identify, cap_s, refused), request_deserializer=read, response_serializer=_write
            )
        else:
            table[method.name] = grpc.unary_unary_rpc_method_handler(
                _unary(function, identify, cap_s, refused), request_deserializer=read, response_serializer=_write
            )
    return grpc.method_handlers_generic_handler(service.full_name, table)


def _reader(message: type[Message]) -> Callable[[bytes], Any]:
    """A deserialiser that cannot fail: gRPC would answer UNKNOWN and show the exception's text."""

    def read(data: bytes) -> Any:
        try:
            return message.FromString(data)
        except DecodeError:
            return _MALFORMED

    return read


def _write(message: Message) -> bytes:
    return message.SerializeToString()


def _unary(function: Any, identify: Identify, cap_s: float, refused: Refused) -> Any:
    async def handle(request: Any, context: Context) -> Message:
        async def work() -> Message:
            answer: Message = await function(_checked(request), identify(context.invocation_metadata()))
            return answer

        return await _guarded(work, context, cap_s, refused)

    return handle


def _streaming(function: Any, identify: Identify, cap_s: float, refused: Refused) -> Any:
    async def handle(request: Any, context: Context) -> None:
        async def work() -> None:
            items = function(_checked(request), identify(context.invocation_metadata()))
            async with aclosing(items):
                async for item in items:
                    await context.write(item)

        await _guarded(work, context, cap_s, refused)

    return handle


def _checked(request: Any) -> Any:
    if request is _MALFORMED:
        raise InvalidInput("The request is not a message of this method, or its text is not UTF-8.", field="request")
    return request


async def _guarded(work: Callable[[], Awaitable[T]], context: Context, cap_s: float, refused: Refused) -> T:
    try:
        async with asyncio.timeout(cap_s):
            return await work()
    except SkipjoinError as error:
        said = error.with_traceback(None)  # with it, the error and this frame would keep each other, and the request
    except TimeoutError:
        said = DeadlineExceeded(f"No call lasts longer than {cap_s:g} s here; stream again from the offset reached.")
    except Exception:
        # The text of an unknown exception may hold anything: it goes to the log, not to the caller.
        log.exception("a call failed")
        said = InternalError("The server failed at this call; it is logged there.")
    refused(said)
    await context.abort(*abort_args(said))
