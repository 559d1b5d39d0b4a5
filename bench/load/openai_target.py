"""Any server that speaks OpenAI's completions over HTTP, under load.

Owns the request and the reading of its server-sent events. Prompts go as token ids, which the API
allows; `ignore_eos` is what vLLM, SGLang and skipjoin call the wish for exactly so many tokens.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError

from ...core.clock import Clock
from ...core.errors import InvalidInput, Unavailable
from .loops import Answered, Asked

MAX_LINE_BYTES = 1 << 20


class OpenAiTarget:
    """Target over `POST URL/v1/completions`, streaming; `model` is the name the server wants."""

    def __init__(
        self, url: str, model: str, clock: Clock, token: str | None = None, *, patience_s: float | None = None
    ) -> None:
        """A request fails that hears nothing for `patience_s`; None: it waits for ever."""
        self._url = url
        self._model = model
        self._clock = clock
        # No limit on connections and on a request's time: an open loop must not wait for its
        # client.
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=30, sock_read=patience_s),
            headers=_headers(token),
            read_bufsize=MAX_LINE_BYTES,
        )

    async def ask(self, asked: Asked) -> Answered:
        body = {
            "model": self._model,
            "prompt": asked.prompt.tolist(),
            "max_tokens": asked.new_tokens,
            "temperature": 0.0,
            "ignore_eos": True,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        first_ns: int | None = None
        failure: str | None = None
        events, counted = 0, None
        try:
            async with self._session.post(f"{self._url}/v1/completions", json=body) as response:
                if response.status != 200:
                    failure = f"HTTP {response.status}: {_message(await response.text())}"
                else:
                    async for event in _events(response.content):
                        if "error" in event:
                            failure = _message(json.dumps(event))
                            break
                        counted = _counted(event, counted)
                        if event.get("choices"):
                            events += 1
                            if first_ns is None:
                                first_ns = self._clock.now_ns()
        except (aiohttp.ClientError, HttpProcessingError, TimeoutError, ValueError, OSError) as error:
            failure = f"connection: {type(error).__name__}"
        end_ns = self._clock.now_ns()
        # Without usage an event is taken for a token, which is what most servers send.
        tokens = events if counted is None else counted
        if failure is None and first_ns is None:
            failure = "no token came"
        if failure is None and tokens != asked.new_tokens:
            failure = f"{tokens} of {asked.new_tokens} tokens came"
        return Answered(first_ns, end_ns, tokens, failure)

    async def bytes_moved(self) -> int | None:
        """The API does not say."""
        return None

    async def policy(self) -> str | None:
        """The API does not say."""
        return None

    async def close(self) -> None:
        """End the connections."""
        await self._session.close()


async def first_model(url: str, token: str | None = None) -> str:
    """The name of the server's first model.

    Raises Unavailable when it cannot be asked, InvalidInput when it names none.
    """
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30), headers=_headers(token)) as session,
            session.get(f"{url}/v1/models") as response,
        ):
            listed: Any = await response.json(content_type=None) if response.status == 200 else None
    except (aiohttp.ClientError, TimeoutError, ValueError, OSError) as error:
        raise Unavailable(f"{url} does not answer ({type(error).__name__}).") from None
    try:
        return str(listed["data"][0]["id"])
    except (TypeError, KeyError, IndexError):
        raise InvalidInput("The server names no model at /v1/models; give --model.", field="model") from None


def _headers(token: str | None) -> dict[str, str]:
    return {} if token is None else {"Authorization": f"Bearer {token}"}


async def _events(content: aiohttp.StreamReader) -> AsyncIterator[dict[str, Any]]:
    """The JSON objects of a stream of server-sent events, up to [DONE]."""
    async for raw in content:
        line = raw.decode("utf-8", "replace").strip()
        if not line.startswith("data:"):
            continue
        data = line[5:].strip()
        if data == "[DONE]":
            return
        event = json.loads(data)
        if isinstance(event, dict):
            yield event


def _counted(event: dict[str, Any], before: int | None) -> int | None:
    """How many tokens the event says there were; `before` when it does not say."""
    usage = event.get("usage")
    told = usage.get("completion_tokens") if isinstance(usage, dict) else None
    return told if isinstance(told, int) else before


def _message(text: str) -> str:
    """What an error body says, shortened."""
    try:
        said = json.loads(text)
        error = said.get("error", said)
        text = error.get("message", text) if isinstance(error, dict) else str(error)
    except (ValueError, AttributeError):
        pass
    return " ".join(text.split())[:200]
