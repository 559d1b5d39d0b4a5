"""What becomes of an error of a call.

Owns that each is answered in the one JSON shape, counted once, and told by the last event of a
stream that has begun; and that what is not known goes to the log and not to the caller. Errors
below HTTP's machinery are `../connection.py`'s. `door.py` lists it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from aiohttp import web

from ....core.errors import InternalError, SkipjoinError
from ..answers import Refused, refusal
from ..connection import HttpConnection
from ..event_stream import begun, broken_off
from ..openai.answer import error_body
from .chain import Handler
from .request_id import request_id_of

log = logging.getLogger("skipjoin.door")

_LAST_WORD_S = 5.0


class Errors:
    """Answers what the handlers raise. `refused` hears of each."""

    def __init__(self, refused: Callable[[SkipjoinError], None]) -> None:
        self._refused = refused

    async def __call__(self, request: web.BaseRequest, handler: Handler) -> web.StreamResponse:
        """The handler's answer, or the error's.

        Raises ConnectionError where there is no client to answer.
        """
        try:
            return await handler(request)
        except (SkipjoinError, Refused) as error:
            # With its traceback, or that of the error it was made of, it would be in a circle with
            # this frame, and keep the request's bytes until the collector comes.
            said = error.with_traceback(None)
            said.__context__ = said.__cause__ = None
        except ConnectionError:
            raise
        except Exception:
            if request.transport is None:
                raise ConnectionResetError("The client went.") from None
            # The text of an unknown exception may hold anything: it goes to the log, not to the
            # caller.
            log.exception("a call failed, request %s", request_id_of(request))
            said = InternalError("The server failed at this call; it is logged there.")
        plain = said.error if isinstance(said, Refused) else said
        self._refused(plain)
        response = begun(request)
        return refusal(said) if response is None else await _last_word(request, response, plain)


async def _last_word(request: web.BaseRequest, response: web.StreamResponse, said: SkipjoinError) -> web.StreamResponse:
    """End an answer that has begun. A client that does not read is not waited for."""
    try:
        async with asyncio.timeout(_LAST_WORD_S):
            await broken_off(response, error_body(said))
            return response
    except TimeoutError:
        connection = request.protocol
        assert isinstance(connection, HttpConnection)
        connection.abort()
        raise ConnectionResetError("The client does not read.") from None
