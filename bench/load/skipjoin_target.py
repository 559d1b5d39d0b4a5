"""A skipjoin server under load, through the SDK.

Owns how a request becomes a job and a job's last chunk an answer. Counters that no job's account
holds come from the server's metrics, when their address is given.
"""

from __future__ import annotations

from collections.abc import Callable

from ...client import AsyncClient, SamplingParams
from ...core.clock import Clock
from ...core.errors import SkipjoinError
from ...core.job import FinishReason
from .metrics_page import MetricsPage
from .target import Answered, Asked

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
