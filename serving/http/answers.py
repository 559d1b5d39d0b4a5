"""Answers of the HTTP door that are no completion: JSON, and refusals, as bytes too.

Owns that every error has the one JSON shape, its status and its headers, also where there is no
request to answer yet. It knows no route. `body.py`, `connection.py`, `connections.py` and the
middlewares use it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from http import HTTPStatus

from aiohttp import web

from ...core.errors import Overloaded, SkipjoinError
from ...proto.status import http_status
from .openai.answer import dumps, error_body

SERVER = "skipjoin"
JOB_ID = "X-Skipjoin-Job-Id"
_JSON = "application/json"
_UNAVAILABLE_RETRY_S = 1


class Refused(Exception):
    """An error whose HTTP status is not the one of its class, such as 413."""

    def __init__(self, error: SkipjoinError, status: int, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(str(error))
        self.error = error
        self.status = status
        self.headers = dict(headers or {})


def json_answer(value: object, status: int = 200) -> web.Response:
    """A value as JSON."""
    return web.Response(text=dumps(value), status=status, content_type=_JSON)


def refusal(error: SkipjoinError | Refused) -> web.Response:
    """The answer to a request that is refused."""
    refused = error if isinstance(error, Refused) else Refused(error, http_status(type(error)))
    answer = json_answer(error_body(refused.error), refused.status)
    answer.headers.update(_headers(refused))
    return answer


def raw_refusal(error: Refused) -> bytes:
    """The same as bytes on the wire, for a connection without a request. It is closed after."""
    body = dumps(error_body(error.error)).encode()
    headers = {"Content-Type": f"{_JSON}; charset=utf-8", "Content-Length": str(len(body)), "Connection": "close"}
    headers |= {"Server": SERVER} | _headers(error)
    status = HTTPStatus(error.status)
    lines = [f"HTTP/1.1 {status.value} {status.phrase}", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def _headers(refused: Refused) -> dict[str, str]:
    headers = dict(refused.headers)
    if isinstance(refused.error, Overloaded):
        headers["Retry-After"] = str(math.ceil(refused.error.retry_after_s))
    elif refused.status == 503:
        headers["Retry-After"] = str(_UNAVAILABLE_RETRY_S)
    elif refused.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return headers
