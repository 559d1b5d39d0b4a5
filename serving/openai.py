"""Completions over HTTP: OpenAI's two calls, whole or as server-sent events.

Owns the way from a request to a job and from the job's chunks to the answer. It checks nothing that `Jobs` checks, shapes nothing that
`openai_answer` shapes, and what it means when the client goes is `Following`'s. `http_door.py` routes to it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field

from aiohttp import web

from ..core.errors import InternalError, InvalidInput, NotFound, SkipjoinError
from ..core.ids import TenantId
from ..core.sampling import SamplingParams
from ..core.view import Chunk, Finish, JobView
from .following import Following
from .jobs import Jobs
from .openai_answer import Shape, dumps, error_body, failure_of
from .openai_request import Wish, chat_asked, completion_asked, read_body
from .payloads import Payload, Payloads
from .text import Tokenizer

IDEMPOTENCY = "Idempotency-Key"
JOB_ID = "X-Skipjoin-Job-Id"
BODY_TIMEOUT_S = 60.0
_BEGUN = web.RequestKey("skipjoin.begun", web.StreamResponse)
_EVENT_STREAM = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-cache",
    "X-Accel-Buffering": "no",
}


@dataclass(slots=True, eq=False)
class OpenAiCalls:
    """The handlers; each takes a request whose tenant is known. The model answers to all of `names`, the first is the usual one."""

    jobs: Jobs
    tokenizer: Tokenizer
    defaults: SamplingParams
    payloads: Payloads
    names: tuple[str, ...]
    _following: Following = field(init=False)

    def __post_init__(self) -> None:
        """One conduct for all calls."""
        self._following = Following(self.jobs, "the connection broke")

    def called(self, name: str | None) -> str:
        """The name by which a request calls the model, the usual one where it names none. Raises NotFound."""
        if name is None:
            return self.names[0]
        if name not in self.names:
            raise NotFound(f"The model {name[:80]!r} is not served here.", field="model", limit=" or ".join(self.names))
        return name

    def models(self) -> dict[str, object]:
        """`/v1/models`: the one that is served, under each of its names."""
        return {"object": "list", "data": [self.model_card(name) for name in self.names]}

    def model_card(self, name: str) -> dict[str, object]:
        """The model as a list entry. Raises Unavailable, NotFound."""
        facts = self.jobs.engine()
        return {
            "id": self.called(name),
            "object": "model",
            "created": 0,
            "owned_by": "skipjoin",
            "max_model_len": facts.job_tokens,
        }

    async def completions(self, request: web.Request, tenant: TenantId) -> web.StreamResponse:
        """POST /v1/completions. Raises SkipjoinError before the first byte of the answer."""
        return await self._call(request, tenant, chat=False)

    async def chat(self, request: web.Request, tenant: TenantId) -> web.StreamResponse:
        """POST /v1/chat/completions. Raises SkipjoinError before the first byte of the answer."""
        return await self._call(request, tenant, chat=True)

    async def _call(self, request: web.Request, tenant: TenantId, *, chat: bool) -> web.StreamResponse:
        job, model, wish = await self._taken_in(request, tenant, chat=chat)
        shape = Shape(job, model, chat, self.tokenizer.token_bytes)
        if wish.stream:
            return await self._stream(request, tenant, job, shape, usage=wish.include_usage)
        with self._following.held(job, tenant):
            return await self._answer(tenant, job, shape)

    async def _taken_in(self, request: web.Request, tenant: TenantId, *, chat: bool) -> tuple[JobView, str, Wish]:
        """The stored job, the model's name and how the answer shall look. The request's bytes are held here and no longer."""
        with self.payloads.reserve(tenant) as payload:
            body = read_body(await _read(request, payload))
            # Who names the request will come back for it: its job outlives the connection.
            key = request.headers.get(IDEMPOTENCY)
            understand = chat_asked if chat else completion_asked
            asked = understand(body, self.defaults, cancel_on_disconnect=key is None)
            model = self.called(asked.model)
            return await self._following.submit(asked.spec, tenant, key), model, asked.wish

    async def _answer(self, tenant: TenantId, job: JobView, shape: Shape) -> web.Response:
        chunks: list[Chunk] = []
        async with aclosing(self._chunks(job, tenant)) as items:
            async for chunk in items:
                chunks.append(chunk)
        finish = chunks[-1].finish if chunks else None
        if finish is None:
            raise InternalError("The stream ended without an end.")
        if (failure := failure_of(finish)) is not None:
            raise failure
        text = "".join(chunk.text for chunk in chunks)
        return web.Response(
            text=dumps(shape.answer(text, chunks, finish)),
            content_type="application/json",
            headers={JOB_ID: job.job_id},
        )

    async def _stream(
        self, request: web.Request, tenant: TenantId, job: JobView, shape: Shape, *, usage: bool
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers=_EVENT_STREAM | {JOB_ID: job.job_id})
        request[_BEGUN] = response
        try:
            with self._following.held(job, tenant):
                await response.prepare(request)
                await self._send_events(response, tenant, job, shape, usage=usage)
        except ConnectionResetError:
            pass  # there is nobody left to answer
        return response

    def begun(self, request: web.Request) -> web.StreamResponse | None:
        """The answer to a request whose status is out already."""
        response = request.get(_BEGUN)
        return response if response is not None and response.prepared else None

    async def broken_off(self, response: web.StreamResponse, error: SkipjoinError) -> web.StreamResponse:
        """End a stream that failed in the middle: the error is its last event."""
        try:
            await _event(response, error_body(error))
            await response.write_eof()
        except ConnectionResetError:
            pass
        return response

    async def _send_events(
        self, response: web.StreamResponse, tenant: TenantId, job: JobView, shape: Shape, *, usage: bool
    ) -> None:
        first, finish = True, None
        async with aclosing(self._chunks(job, tenant)) as items:
            async for chunk in items:
                finish = chunk.finish
                if finish is not None and (failure := failure_of(finish)) is not None:
                    raise failure
                await _event(response, shape.chunk(chunk, first=first))
                first = False
        if usage and isinstance(finish, Finish):
            await _event(response, shape.usage_chunk(finish))
        await response.write(b"data: [DONE]\n\n")
        await response.write_eof()

    async def _chunks(self, job: JobView, tenant: TenantId) -> AsyncGenerator[Chunk]:
        async with aclosing(self.jobs.follow(job.job_id, tenant, 0)) as items:
            async for item in items:
                if isinstance(item, Chunk):
                    yield item


async def _read(request: web.Request, payload: Payload) -> bytes:
    if request.content_type != "application/json":
        # Also keeps web pages away: a browser asks before it sends this type to a foreign server.
        raise InvalidInput("The body must be sent as Content-Type: application/json.", field="Content-Type")
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            payload.grow(request.content_length or 0)
            body = await request.read()
            payload.grow(max(0, len(body) - payload.nbytes))
            return body
    except TimeoutError:
        raise InvalidInput("The body did not arrive in time.", field="body", limit=f"{BODY_TIMEOUT_S:g} s") from None
    except web.RequestPayloadError:
        raise InvalidInput("The body is not encoded as its headers say.", field="body") from None


async def _event(response: web.StreamResponse, value: dict[str, object]) -> None:
    await response.write(f"data: {dumps(value)}\n\n".encode())
