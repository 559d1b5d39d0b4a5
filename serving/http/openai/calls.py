"""Completions over HTTP: OpenAI's two calls, whole or as server-sent events.

Owns the way from a request to a job and from the job's chunks to the answer. It checks nothing that
`Jobs` checks, shapes nothing that `answer.py` shapes, and what it means when the client goes is
`Following`'s. `../door.py` routes to it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field

from aiohttp import web

from ....core.errors import InternalError, InvalidInput, NotFound, SkipjoinError, Unavailable
from ....core.ids import TenantId
from ....core.sampling import SamplingParams
from ....core.view import Chunk, Finish, JobView
from ...door.following import Following
from ...door.in_line import InLine
from ...door.jobs import Jobs
from ...door.text import Tokenizer
from ..answers import JOB_ID
from ..body import Bodies
from ..event_stream import HEADERS, EventStream
from ..middlewares.identity import tenant_of
from .answer import Shape, dumps, failure_of
from .body_json import check_values, read_body
from .names import as_sent
from .request import OpenAIRequest, Wish, chat_asked, completion_asked

log = logging.getLogger("skipjoin.door")

IDEMPOTENCY = "Idempotency-Key"
_LARGE_BYTES = 64 * 1024
_BREATH_S = 0.02


@dataclass(slots=True, eq=False)
class OpenAiCalls:
    """The handlers; each takes a request whose tenant is known.

    The model answers to all of `names`, the first is the usual one.
    """

    jobs: Jobs
    tokenizer: Tokenizer
    defaults: SamplingParams
    bodies: Bodies
    names: tuple[str, ...]
    comment_s: float
    in_line: InLine
    following: Following = field(init=False)

    def __post_init__(self) -> None:
        """One conduct for all calls."""
        self.following = Following(self.jobs, "the connection broke", "the call lasted for too long")

    def called(self, name: str | None) -> str:
        """The name by which a request calls the model, the usual one where it names none.

        Raises NotFound.
        """
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

    async def completions(self, request: web.BaseRequest) -> web.StreamResponse:
        """POST /v1/completions. Raises SkipjoinError before the first byte of the answer."""
        return await self._call(request, tenant_of(request), chat=False)

    async def chat(self, request: web.BaseRequest) -> web.StreamResponse:
        """POST /v1/chat/completions. Raises SkipjoinError before the first byte of the answer."""
        return await self._call(request, tenant_of(request), chat=True)

    async def _call(self, request: web.BaseRequest, tenant: TenantId, *, chat: bool) -> web.StreamResponse:
        job, model, wish = await self._taken_in(request, tenant, chat=chat)
        shape = Shape(job, model, chat, self.tokenizer.token_bytes, self.tokenizer.token_name)
        try:
            if wish.stream:
                return await self._stream(request, tenant, job, shape, usage=wish.include_usage)
            with self.following.held(job, tenant):
                return await self._answer(tenant, job, shape)
        except Unavailable:
            if self.jobs.streams.closed:
                raise await self._going(job, tenant) from None
            raise

    async def _taken_in(self, request: web.BaseRequest, tenant: TenantId, *, chat: bool) -> tuple[JobView, str, Wish]:
        """The stored job, the model's name and how the answer shall look.

        The request's bytes are held here and no longer.
        """
        facts = self.jobs.engine()
        # Who names the request will come back for it: its job outlives the connection.
        key = request.headers.get(IDEMPOTENCY)
        async with self.bodies.read(request, tenant) as data:
            asked = await self._understood(data, tenant, facts.job_tokens, chat=chat, named=key is not None)
            model = self.called(asked.model)
            try:
                return await self.following.submit(asked.spec, tenant, key), model, asked.wish
            except InvalidInput as error:
                raise as_sent(error, asked.sent) from None

    async def _understood(
        self, data: bytearray, tenant: TenantId, job_tokens: int, *, chat: bool, named: bool
    ) -> OpenAIRequest:
        understand = chat_asked if chat else completion_asked
        if len(data) < _LARGE_BYTES:
            return understand(read_body(data), self.defaults, cancel_on_disconnect=not named)
        # Each step holds the event loop for some milliseconds: others get some turns, not one,
        # between two of them.
        async with self.in_line.turn(tenant):
            check_values(data, job_tokens)
            await asyncio.sleep(_BREATH_S)
            body = read_body(data)
            await asyncio.sleep(_BREATH_S)
            return understand(body, self.defaults, cancel_on_disconnect=not named)

    async def _going(self, job: JobView, tenant: TenantId) -> Unavailable:
        """What a client is told when the server goes before its job is done.

        One that did not name its request cannot come back for it.
        """
        if not job.cancel_on_disconnect:
            return Unavailable(
                "The server is going down and keeps the job. Send the request again with the same Idempotency-Key."
            )
        try:
            await self.jobs.cancel(job.job_id, tenant, "the server went down before the job was done")
        except SkipjoinError as error:
            log.warning("job %s is computed later although its client cannot come back: %s", job.job_id, error)
        return Unavailable("The server is going down and the job was cancelled. Send the request again.")

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
        self, request: web.BaseRequest, tenant: TenantId, job: JobView, shape: Shape, *, usage: bool
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers=HEADERS | {JOB_ID: job.job_id})
        try:
            with self.following.held(job, tenant):
                events = EventStream(response, self.comment_s)
                await events.open(request)
                async with events:
                    await self._send_events(events, tenant, job, shape, usage=usage)
                await events.done()
        except ConnectionError:
            pass  # there is nobody left to answer
        return response

    async def _send_events(
        self, events: EventStream, tenant: TenantId, job: JobView, shape: Shape, *, usage: bool
    ) -> None:
        first, finish = True, None
        async with aclosing(self._chunks(job, tenant)) as items:
            async for chunk in items:
                finish = chunk.finish
                if finish is not None and (failure := failure_of(finish)) is not None:
                    raise failure
                await events.send(shape.chunk(chunk, first=first))
                first = False
        if usage and isinstance(finish, Finish):
            await events.send(shape.usage_chunk(finish))

    async def _chunks(self, job: JobView, tenant: TenantId) -> AsyncGenerator[Chunk]:
        async with aclosing(self.jobs.follow(job.job_id, tenant, 0)) as items:
            async for item in items:
                if isinstance(item, Chunk):
                    yield item
