"""What happens to every HTTP request around its call."""

from __future__ import annotations

import asyncio
import gc
import json
import weakref
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from skipjoin.core.errors import InvalidInput, SkipjoinError
from skipjoin.core.sampling import SamplingParams
from skipjoin.serving.http.middlewares.chain import Handler, around
from skipjoin.serving.http.middlewares.errors import Errors
from skipjoin.serving.http.middlewares.request_id import RequestId, request_id_of
from skipjoin.serving.http.openai.request import completion_asked


def _answer(handler: Handler, **headers: str) -> web.StreamResponse:
    request = make_mocked_request("GET", "/", {name.replace("_", "-"): value for name, value in headers.items()})
    answer = asyncio.run(_handled(handler, request))
    assert isinstance(answer, web.Response)
    return answer


async def _handled(handler: Handler, request: web.BaseRequest) -> web.StreamResponse:
    return await handler(request)


def test_the_first_middleware_is_outermost() -> None:
    went: list[str] = []

    class Noted:
        def __init__(self, name: str) -> None:
            self.name = name

        async def __call__(self, request: web.BaseRequest, handler: Handler) -> web.StreamResponse:
            went.append(self.name)
            try:
                return await handler(request)
            finally:
                went.append(f"/{self.name}")

    async def call(request: web.BaseRequest) -> web.StreamResponse:
        went.append("call")
        return web.Response()

    _answer(around(call, [Noted("a"), Noted("b")]))
    assert went == ["a", "b", "call", "/b", "/a"]


@pytest.mark.parametrize(
    ("said", "taken"),
    [
        ("7f3a", True),
        ("a-b_c.d:e/f=+@", True),
        ("x" * 128, True),
        ("x" * 129, False),
        ("", False),
        ("two words", False),
        ("line\nbreak", False),
        ("\u00e9", False),
        ("%s", False),
    ],
)
def test_a_request_id_that_is_safe_to_write_down_is_taken(said: str, taken: bool) -> None:
    async def call(request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(text=request_id_of(request))

    first, second = (_text(_answer(around(call, [RequestId()]), X_Request_Id=said)) for _ in range(2))
    assert (first == said) is taken
    if not taken:
        assert len(first) == 16 and first != second


def _text(answer: web.StreamResponse) -> str:
    assert isinstance(answer, web.Response) and answer.text is not None
    return answer.text


class _Body(dict[str, object]):
    """A body that can be watched."""


@contextmanager
def _no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def test_a_refused_body_is_free_at_once() -> None:
    """Bodies are large, and the collector may come late."""
    bodies: list[weakref.ref[_Body]] = []
    heard: list[SkipjoinError] = []

    async def call(request: web.BaseRequest) -> web.StreamResponse:
        body = _Body({"prompt": "x" * 1000, "stream": 5})
        bodies.append(weakref.ref(body))
        completion_asked(body, SamplingParams(), cancel_on_disconnect=False)
        return web.Response()

    with _no_collector():
        said = json.loads(_text(_answer(around(call, [RequestId(), Errors(heard.append)]))))
        assert bodies[0]() is None
    assert said["error"]["param"] == "stream"
    assert [type(error) for error in heard] == [InvalidInput]
