"""A skipjoin server under load, through the SDK.

Owns how a request becomes a job and a job's last chunk an answer. Counters that no job's account
holds come from the server's metrics page, when its address is given.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator

import aiohttp

from ...client import AsyncClient, SamplingParams
from ...core.clock import Clock
from ...core.errors import SkipjoinError
from ...core.job import FinishReason
from .loops import Answered, Asked

_SAMPLE = re.compile(r"^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? +(\S+)")
_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"')
TIMEOUT_S = 10.0


def samples(text: str, name: str) -> Iterator[tuple[dict[str, str], float]]:
    """Labels and value of every sample of metric `name` that is a number."""
    for line in text.splitlines():
        found = _SAMPLE.match(line)
        if found is None or found[1] != name:
            continue
        try:
            value = float(found[3])
        except ValueError:
            continue
        if not math.isfinite(value):
            continue
        yield dict(_LABEL.findall(found[2] or "")), value


class MetricsPage:
    """`GET URL` of a Prometheus page."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._session: aiohttp.ClientSession | None = None

    async def _text(self) -> str | None:
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT_S))
        try:
            async with self._session.get(self._url) as response:
                return await response.text() if response.status == 200 else None
        except (aiohttp.ClientError, TimeoutError, UnicodeDecodeError):
            return None

    async def total(self, name: str) -> int | None:
        """The sum over all labels of a counter; None when the page or the counter is not there."""
        text = await self._text()
        values = [] if text is None else [value for _, value in samples(text, name)]
        return round(sum(values)) if values else None

    async def label(self, name: str, label: str) -> str | None:
        """A label's value in the metric's first sample that is not 0; None: there is none."""
        text = await self._text()
        found = [] if text is None else [labels.get(label) for labels, value in samples(text, name) if value]
        return found[0] if found else None

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None


MOVED_BYTES = "skipjoin_kv_moved_bytes_total"
POLICY_INFO = "skipjoin_policy_info"
CALLS_PER_CONNECTION = 500


class SkipjoinTarget:
    """Target over gRPC.

    `connect` makes one more client: a server bounds the calls of one connection, and a call beyond
    the bound would wait on our side of the wire. Without `metrics`, bytes moved and policy are
    unknown.
    """

    def __init__(self, connect: Callable[[], AsyncClient], clock: Clock, metrics: MetricsPage | None = None) -> None:
        self._connect = connect
        self._clients: list[AsyncClient] = []
        self._open: list[int] = []
        self._clock = clock
        self._metrics = metrics

    def _take(self) -> int:
        """A connection with room."""
        at = next((at for at, calls in enumerate(self._open) if calls < CALLS_PER_CONNECTION), len(self._open))
        if at == len(self._open):
            self._clients.append(self._connect())
            self._open.append(0)
        self._open[at] += 1
        return at

    async def ask(self, asked: Asked) -> Answered:
        """Generate, greedily, exactly so many tokens."""
        params = SamplingParams(temperature=0.0, seed=0, max_new_tokens=asked.new_tokens, ignore_eos=True)
        first_ns: int | None = None
        tokens = 0
        account = None
        failure: str | None = None
        at = self._take()
        # An interrupted benchmark must not leave its jobs to the next one.
        generation = self._clients[at].generate(
            token_ids=asked.prompt.tolist(), params=params, cancel_on_disconnect=True
        )
        try:
            async for chunk in generation:
                if chunk.token_ids:
                    tokens += len(chunk.token_ids)
                    if first_ns is None:
                        first_ns = self._clock.now_ns()
                if chunk.finish is not None:
                    account = chunk.finish.account
                    if chunk.finish.reason is not FinishReason.LENGTH:
                        failure = ": ".join(chunk.finish.failure or (chunk.finish.reason.value,))
        except SkipjoinError as error:
            failure = f"{error.code}: {error.message}"
        finally:
            self._open[at] -= 1
        end_ns = self._clock.now_ns()
        if failure is None and tokens != asked.new_tokens:
            failure = f"{tokens} of {asked.new_tokens} tokens came"
        return Answered(
            first_ns,
            end_ns,
            tokens,
            failure,
            preemptions=None if account is None else account.preemptions,
            recomputed_tokens=None if account is None else account.recomputed_tokens,
        )

    async def bytes_moved(self) -> int | None:
        """From the metrics page: both directions together."""
        return None if self._metrics is None else await self._metrics.total(MOVED_BYTES)

    async def policy(self) -> str | None:
        return None if self._metrics is None else await self._metrics.label(POLICY_INFO, "policy")

    async def close(self) -> None:
        for client in self._clients:
            await client.close()
        if self._metrics is not None:
            await self._metrics.close()
