"""How a gRPC call's message is received: within bounds of bytes, time and fields.

Owns the wait for the bytes, the room that a slow message needs, the unpacking and the parsing. A
long message is parsed by itself, the tenants in turn. It knows no method and no headers; `rpc.py`
has judged those when it asks for the message.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import grpc.aio
from google.protobuf.message import DecodeError, Message

from ...core.errors import DeadlineExceeded, InvalidInput, SkipjoinError
from ..door.in_line import InLine
from ..door.payloads import Payload, Payloads
from .slow_messages import SlowMessages
from .wire_fields import has_more_fields

AT_ONCE_S = 0.05
"""A message that is not there after this time is slow or long, and needs room."""
LATE_S = 0.01
"""When the event loop looks so much later than it was to look, the message may be there and nothing
has read it.
"""
AGAIN_S = 0.02
"""So long after a late look follows another."""
LARGE_BYTES = 64 * 1024
"""From here on a message is parsed by itself: its fields are counted first, and others have turns
before and after.
"""
_BREATHS = 5  # iterations of the loop, in which gRPC hands over a call
_GZIP = b"\x1f\x8b"


@dataclass(frozen=True, slots=True)
class MessageBounds:
    """What a message may be: bytes, seconds until it is there, fields of a long one, and slow ones
    of a connection while there is little room.
    """

    max_bytes: int
    timeout_s: float = 20.0
    max_fields: int = 2**15
    max_slow: int = 2


class Sender(Protocol):
    """The part of grpc.aio's servicer context that is used here."""

    def peer(self) -> str: ...
    async def read(self) -> Any: ...


class Messages:
    """Receives messages. Long ones are parsed in `line`; `on_limit` hears of every refusal, by the
    setting that bound.
    """

    def __init__(
        self,
        payloads: Payloads,
        bounds: MessageBounds,
        line: InLine | None = None,
        on_limit: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.payloads = payloads
        self._bounds = bounds
        self._line = InLine(bounds.timeout_s) if line is None else line
        self._on_limit = on_limit
        self._slow = SlowMessages(payloads, bounds.max_bytes, bounds.max_slow, lambda: on_limit("max_slow_messages"))

    async def read(self, sender: Sender, payload: Payload, kind: type[Message]) -> Message:
        """The call's message. Raises InvalidInput for bytes that are none, Overloaded,
        DeadlineExceeded when it does not arrive.
        """
        data = await self.read_bytes(sender, payload)
        if data is grpc.aio.EOF:
            raise InvalidInput("The call has no message.", field="request")
        if data[:2] == _GZIP:
            payload.grow(self._bounds.max_bytes)
            data = _unpacked(data, self._bounds.max_bytes)
        if len(data) < LARGE_BYTES:
            return _parsed(kind, data)
        async with self._line.turn(payload.tenant):
            self._check_fields(data, kind)
            await _breath()
            message = _parsed(kind, data)
            await _breath()
            return message

    def _check_fields(self, data: bytes, kind: type[Message]) -> None:
        descriptor: Any = kind.DESCRIPTOR  # of one of two classes, for which the stubs have no common name
        if has_more_fields(data, descriptor, self._bounds.max_fields):
            self._on_limit("max_message_fields")
            raise InvalidInput(
                "The message has too many fields, those of messages inside it among them. Send repeated numbers "
                "packed.",
                field="request",
                limit=f"at most {self._bounds.max_fields} fields",
            )

    async def read_bytes(self, sender: Sender, payload: Payload) -> Any:
        """The message's bytes, or EOF. What is not there at once must have room for as much as a
        message may hold.
        """
        refusals: list[SkipjoinError] = []
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._bounds.timeout_s) as patience:

                def end(refusal: SkipjoinError) -> None:
                    refusals.append(refusal)
                    patience.reschedule(loop.time())

                slow: asyncio.TimerHandle

                def is_slow(due: float, *, again: bool) -> None:
                    nonlocal slow
                    if again and loop.time() - due > LATE_S:
                        due = loop.time() + AGAIN_S
                        slow = loop.call_at(due, partial(is_slow, due, again=False))
                        return
                    try:
                        self._slow.begin(payload, sender.peer(), end, loop.time())
                    except SkipjoinError as refusal:
                        end(refusal)

                first = loop.time() + AT_ONCE_S
                slow = loop.call_at(first, partial(is_slow, first, again=True))
                try:
                    data = await sender.read()
                finally:
                    slow.cancel()
                    self._slow.done(payload)
        except TimeoutError:
            if refusals:
                raise refusals[0] from None
            raise DeadlineExceeded(
                "The call's message did not arrive in time.", field="request", limit=f"{self._bounds.timeout_s:g} s"
            ) from None
        payload.release()
        payload.grow(0 if data is grpc.aio.EOF else len(data))
        return data


def _parsed(kind: type[Message], data: bytes) -> Message:
    """The message that the bytes are. Raises InvalidInput."""
    try:
        return kind.FromString(data)
    except DecodeError:
        said = "The request is not a message of this method, or its text is not UTF-8."
        raise InvalidInput(said, field="request") from None


async def _breath() -> None:
    """Let what else is due on the loop have its turn."""
    for _ in range(_BREATHS):
        await asyncio.sleep(0)


def _unpacked(data: bytes, most: int) -> bytes:
    """A message that was packed with gzip. gRPC would unpack whatever it becomes; no message begins
    with gzip's first byte.

    Raises InvalidInput when it is none, or becomes too large.
    """
    unpacking = zlib.decompressobj(wbits=31)
    try:
        message = unpacking.decompress(data, most)
    except zlib.error:
        raise InvalidInput("The message is not packed as its first bytes say.", field="request") from None
    if not unpacking.eof:
        said = "The message is cut off, or unpacked larger than this server takes."
        raise InvalidInput(said, field="request", limit=f"at most {most} bytes")
    return message
