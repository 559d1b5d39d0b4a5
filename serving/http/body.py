"""Bodies of HTTP requests: which kinds, how long they may take, how many bytes at a time.

Owns everything between a request's head and the bytes of its body. Nothing is read before the head
is found to be in order, and nothing is ever unpacked. It knows no JSON; `openai/calls.py` reads
with it, after the caller is known.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from aiohttp import HttpVersion11, web

from ...core.errors import InvalidInput
from ...core.ids import TenantId
from ..door.payloads import Payload, Payloads
from .answers import Refused

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Bodies:
    """Reads bodies of at most `max_bytes` within `timeout_s`, where `payloads` has room."""

    payloads: Payloads
    max_bytes: int
    timeout_s: float

    @asynccontextmanager
    async def read(self, request: web.BaseRequest, tenant: TenantId) -> AsyncIterator[bytearray]:
        """The body. Its bytes count as in the taking until the block ends.

        Raises InvalidInput, Overloaded, Refused.
        """
        _check_head(request)
        with self.payloads.reserve(tenant) as payload:
            yield await self._arrived(request, payload)

    async def _arrived(self, request: web.BaseRequest, payload: Payload) -> bytearray:
        body = bytearray()
        self._check_size(request.content_length or 0)  # room is taken as bytes arrive: a promise holds none
        if request.headers.get("Expect") and request.version == HttpVersion11 and request.transport is not None:
            request.transport.write(_CONTINUE)
        try:
            async with asyncio.timeout(self.timeout_s):
                while chunk := await request.content.readany():
                    self._expect(payload, len(body) + len(chunk))
                    body += chunk
        except TimeoutError:
            said = InvalidInput("The body did not arrive in time.", field="body", limit=f"{self.timeout_s:g} s")
            raise Refused(said, 408) from None
        except web.RequestPayloadError:
            raise InvalidInput("The body is not sent as its headers say.", field="body") from None
        return body

    def _expect(self, payload: Payload, nbytes: int) -> None:
        """So many bytes in all: reserve what is not reserved yet. Raises Refused, Overloaded."""
        self._check_size(nbytes)
        payload.grow(max(0, nbytes - payload.nbytes))

    def _check_size(self, nbytes: int) -> None:
        """Raise Refused for more bytes than a body may have."""
        if nbytes > self.max_bytes:
            limit = f"{self.max_bytes} bytes"
            raise Refused(InvalidInput("The body is larger than this server takes.", field="body", limit=limit), 413)


def _check_head(request: web.BaseRequest) -> None:
    """Raise InvalidInput or Refused for a body that is not wanted whatever is in it."""
    headers = request.headers
    codings = [word.strip().lower() for value in headers.getall("Content-Encoding", ()) for word in value.split(",")]
    if any(coding not in ("", "identity") for coding in codings):
        said = InvalidInput(
            "The body must not be compressed: send it without Content-Encoding.",
            field="Content-Encoding",
            limit="identity",
        )
        raise Refused(said, 415, {"Accept-Encoding": "identity"})
    transfer = [word.strip().lower() for value in headers.getall("Transfer-Encoding", ()) for word in value.split(",")]
    if any(coding not in ("", "chunked", "identity") for coding in transfer):
        raise InvalidInput(
            "Of transfer codings only chunked is understood.", field="Transfer-Encoding", limit="chunked"
        )
    if request.content_type != "application/json":
        # Also keeps web pages away: a browser asks before it sends this type to a foreign server.
        raise InvalidInput("The body must be sent as Content-Type: application/json.", field="Content-Type")
    if (expect := headers.get("Expect")) and expect.strip().lower() != "100-continue":
        said = InvalidInput("Of expectations only 100-continue is understood.", field="Expect", limit="100-continue")
        raise Refused(said, 417)
