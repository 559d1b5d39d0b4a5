"""How a gRPC call is taken in and answered, whatever it asks.

Owns what all calls share, in this order: a caller has a tenant, a call has a place, its message is
read (`messages.py`), nothing outlasts the server's cap, and every error is a typed status with
details. Who is refused is refused by the headers alone: gRPC receives a message only when it is
asked for. It knows no method; servicers give it plain coroutines and generators.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, NoReturn, Protocol

import grpc
import grpc.aio
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from ...core.errors import InternalError, InvalidInput, SkipjoinError, UnknownMethod
from ...core.ids import DEFAULT_TENANT, TenantId
from ...proto.status import abort_args
from ..door.access import Access
from ..door.call_cap import capped
from ..door.turns import connection
from .admission import Admission, Place
from .messages import Messages

log = logging.getLogger("skipjoin.door")

MAX_METADATA_BYTES = 16 * 1024
_ENTRY_BYTES = 32  # what HTTP/2 counts for an entry beside its name and value


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls; `tenant` None is the operator. A stream calls `taken_in` when all it does from
    then on is wait for its job.
    """

    tenant: TenantId | None
    taken_in: Callable[[], None] = lambda: None


class Context(Protocol):
    """The part of grpc.aio's servicer context that is used here."""

    def invocation_metadata(self) -> Any: ...
    def peer(self) -> str: ...
    async def read(self) -> Any: ...
    async def write(self, message: Message) -> None: ...
    async def abort(self, code: grpc.StatusCode, details: str, trailing_metadata: Any) -> NoReturn: ...


Identify = Callable[[Any], TenantId | None]
Unary = Callable[[Any, Caller], Awaitable[Message]]
Streaming = Callable[[Any, Caller], AsyncIterator[Message]]
Refused = Callable[[SkipjoinError], None]


def by_token(access: Access) -> Identify:
    """A caller is whom its bearer token names. Raises Unauthenticated."""

    def identify(metadata: Any) -> TenantId | None:
        shown = next((value for key, value in metadata or () if key == "authorization"), None)
        return access.tenant(shown if isinstance(shown, str) else None)

    return identify


def operator(_: Any) -> TenantId | None:
    """Whoever reaches the operator's socket is the operator: the file's rights guard it."""
    return None


def anyone(_: Any) -> TenantId | None:
    """For calls that need no token: they see nothing of any tenant."""
    return None


@dataclass(frozen=True, slots=True)
class _Method:
    """A method: what reads its message, and who answers it."""

    message: type[Message]
    function: Any
    admission: Admission


@dataclass(slots=True, eq=False)
class Gate:
    """What every call passes before its method hears of it.

    `cap_s` bounds a call; `came` hears of every call and `refused` of every error that is answered.
    The methods in `apart` have places of their own.
    """

    identify: Identify
    admission: Admission
    messages: Messages
    cap_s: float
    came: Callable[[], None] = lambda: None
    refused: Refused = lambda error: None
    apart: Mapping[str, Admission] = field(default_factory=dict)

    def serve(self, server: grpc.aio.Server, service: ServiceDescriptor, methods: dict[str, Unary | Streaming]) -> None:
        """Have a server answer all methods of a service. Raises KeyError when one is missing: a
        server must not start half.

        For gRPC they take streams, of which the first message is read: gRPC would receive the
        message of a unary method before it calls anything. They are registered, so that each has a
        line of its own: a flood of one method does not stand before the others.
        """
        table: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}
        for known in service.methods:
            admission = self.apart.get(known.name, self.admission)
            method = _Method(GetMessageClass(known.input_type), methods[known.name], admission)
            if known.server_streaming:
                table[known.name] = grpc.stream_stream_rpc_method_handler(
                    self._streaming(method), response_serializer=_write
                )
            else:
                table[known.name] = grpc.stream_unary_rpc_method_handler(
                    self._unary(method), response_serializer=_write
                )
        server.add_registered_method_handlers(service.full_name, table)

    def _unary(self, method: _Method) -> Any:
        async def handle(_: Any, context: Context) -> Message | None:
            answer: Message | None = None

            async def work(place: Place, tenant: TenantId | None) -> None:
                nonlocal answer
                with self.messages.payloads.reserve(tenant or DEFAULT_TENANT) as payload:
                    # Without a name here, the message goes when its method has done with it.
                    answer = await method.function(
                        await self.messages.read(context, payload, method.message), Caller(tenant)
                    )

            await self._guarded(method, work, context)
            return answer

        return handle

    def _streaming(self, method: _Method) -> Any:
        async def handle(_: Any, context: Context) -> None:
            async def work(place: Place, tenant: TenantId | None) -> None:
                with self.messages.payloads.reserve(tenant or DEFAULT_TENANT) as payload:

                    def taken_in() -> None:
                        place.answered()
                        payload.release()

                    request = await self.messages.read(context, payload, method.message)
                    items = method.function(request, Caller(tenant, taken_in))
                    del request  # a stream may last for an hour, and its prompt is stored
                    await _pass_on(items, context)

            await self._guarded(method, work, context)

        return handle

    async def _guarded(
        self, method: _Method, work: Callable[[Place, TenantId | None], Awaitable[None]], context: Context
    ) -> None:
        """Let a call in and do its work. Every error is answered as a status with details."""
        self.came()
        try:
            metadata = context.invocation_metadata()
            _check_metadata(metadata)
            tenant = self.identify(metadata)
            connection.set(peer := context.peer())
            with method.admission.place(peer, tenant or DEFAULT_TENANT) as place:
                async with capped(self.cap_s, "Stream again from the offset reached."):
                    return await work(place, tenant)
        except SkipjoinError as error:
            said = error.with_traceback(
                None
            )  # with it, the error and this frame would keep each other, and the request
        except grpc.aio.InternalError:
            # The client is gone, which gRPC would log with a traceback wherever its own news of
            # that comes a moment later.
            raise asyncio.CancelledError from None
        except Exception:
            # The text of an unknown exception may hold anything: it goes to the log, not to the
            # caller.
            log.exception("a call failed")
            said = InternalError("The server failed at this call; it is logged there.")
        self.refused(said)
        await _abort(context, said)


class UnknownMethods(grpc.GenericRpcHandler):
    """Answers what no other handler knows; gRPC's own answer has no details. `came` hears of every
    call.
    """

    def __init__(self, came: Callable[[], None] = lambda: None) -> None:
        self._came = came

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any]:
        """A handler of any method; add it last."""
        return grpc.stream_stream_rpc_method_handler(self._refuse)

    async def _refuse(self, _: Any, context: Context) -> None:
        self._came()
        await _abort(context, UnknownMethod("This server has no such method.", field="method"))


async def _pass_on(items: Any, context: Context) -> None:
    """Write what the method yields. A write that fails is raised in the method: it knows what the
    failure means for the job.
    """
    async with aclosing(items):
        async for item in items:
            try:
                await context.write(item)
            except grpc.aio.InternalError:
                await items.athrow(asyncio.CancelledError())
            except (Exception, asyncio.CancelledError) as failure:  # noqa: BLE001 - the method raises it again
                await items.athrow(failure)


async def _abort(context: Context, error: SkipjoinError) -> NoReturn:
    """Answer a call with an error, if there is still a client to answer."""
    try:
        await context.abort(*abort_args(error))
    except grpc.aio.InternalError:
        raise asyncio.CancelledError from None


def _check_metadata(metadata: Any) -> None:
    """Raise InvalidInput for more metadata than a call may have.

    What is far beyond, gRPC refuses itself once the client has acknowledged its limit. Until then
    half a million entries may come: they are counted, not read.
    """
    most = MAX_METADATA_BYTES // _ENTRY_BYTES
    if len(metadata or ()) > most:
        raise InvalidInput(
            f"The call's metadata has {len(metadata)} entries.", field="metadata", limit=f"at most {most} entries"
        )
    size = sum(len(key) + len(value) + _ENTRY_BYTES for key, value in metadata or ())
    if size > MAX_METADATA_BYTES:
        raise InvalidInput(
            f"The call's metadata has {size} bytes.", field="metadata", limit=f"at most {MAX_METADATA_BYTES} bytes"
        )


def _write(message: Message) -> bytes:
    return message.SerializeToString()
