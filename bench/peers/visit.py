"""A visit: one server from its start to its end, with every cell of the scenario in between.

Owns the contenders, what is sent in which order and what is kept of it. The flags make contenders
alike: device, precision, slots and room for KV; and each has its threads. `contest` decides which
one is visited when.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

import aiohttp

from ...core.clock import Clock
from ...core.errors import InvalidSettings, SkipjoinError, Unavailable
from ...model.config import ModelConfig
from ...sim.drain import completion_rate
from ...workload.requests import Workload
from ..load.loops import LoadRun, circulate, offer
from ..load.openai_target import OpenAiTarget, first_model
from ..load.server import OwnServer
from ..load.target import requests_of
from ..progress import Bar
from .catalogue import Peer, ServeWish
from .kv_room import kv_tokens
from .scenario import DRAIN, WARM_UP, Cell, LiveScenario
from .server import free_port, peer_server

DRAINS = 2
PROBE_TOKENS, PROBE_S = 24, 120.0
PATIENCE_S = 600.0
"""A server that sends nothing for so long has hung; queues are not that long here."""
T = TypeVar("T")
Line = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Contender:
    """A server to be measured."""

    #: A policy of ours or a peer.
    name: str
    ours: bool
    #: Starts a server of its own and gives its URL while the block lasts.
    serve: Callable[[], AbstractContextManager[str]]


@dataclass(frozen=True, slots=True)
class VisitContext:
    """What all visits share."""

    scenario: LiveScenario
    #: Token ids are drawn below.
    vocabulary: int
    clock: Clock
    bar: Bar


def own_contender(policy: str, model: Path, config: ModelConfig, scenario: LiveScenario) -> Contender:
    """Our server under `policy`, its job pool durable as always."""
    room = str(kv_tokens(config, scenario.kv_gib))
    flags = [
        *("--model", str(model), "--policy", policy, "--device", "cpu", "--dtype", "float32"),
        *("--threads", str(scenario.threads), "--max-batch", str(scenario.slots)),
        *("--kv-tokens", room, "--host-kv-tokens", room),
    ]

    @contextmanager
    def serve() -> Iterator[str]:
        with tempfile.TemporaryDirectory(prefix="skipjoin-bench-") as folder, OwnServer(Path(folder), flags) as server:
            if server.http_url is None:
                raise Unavailable("Our server has no HTTP door, which this comparison goes through.")
            yield server.http_url

    return Contender(policy, True, serve)


def peer_contender(peer: Peer, model: Path, scenario: LiveScenario, port: int | None) -> Contender:
    """The peer's server, on `port` or a free one. Raises InvalidSettings for a taken one."""
    if peer.name in scenario.policies:
        raise InvalidSettings(f"{peer.name} names a policy and a peer.", field="policies")
    free_port(port)

    @contextmanager
    def serve() -> Iterator[str]:
        wish = ServeWish(model, free_port(port), scenario.slots, scenario.context_tokens)
        with peer_server(peer, wish, scenario.peer_threads, scenario.kv_gib) as server:
            try:
                yield server.url
            except SkipjoinError:
                server.check()  # one that has died says why, and not only that it does not answer
                raise
            server.check()

    return Contender(peer.name, False, serve)


def saturation(context: VisitContext, peer: Contender) -> Line:
    """Requests a second that the peer completes when all are sent at once."""
    scenario = context.scenario
    failures: list[str] = []

    async def drain(url: str) -> list[float]:
        rates = []
        async with _target(context, url) as target:
            for number in range(DRAINS):
                workload = scenario.workload(scenario.closed_requests, DRAIN + number).at_once()
                run = await _followed(context, f"{peer.name}, saturation", target, workload, None)
                _must_answer(run, peer.name)
                failures.extend(run.failures)
                advice = "give the scenario more closed_requests"
                rates.append(completion_rate(run.ends_ns(), field="closed_requests", advice=advice))
        return rates

    with peer.serve() as url:
        rates = asyncio.run(_warmed(context, peer.name, url, drain))
    return {
        "kind": "saturation",
        "system": peer.name,
        "rate_per_s": median(rates),
        "drains": rates,
        "failed": len(failures),
        "first_failure": next(iter(failures), None),
    }


def visit(context: VisitContext, contender: Contender, repeat: int, saturated_per_s: float) -> Line:
    """Every cell, as one line. Raises Unavailable."""

    async def cells(url: str) -> list[Line]:
        told = []
        for at, cell in enumerate(context.scenario.cells):
            async with _target(context, url) as target:
                told.append(await _cell(context, contender.name, target, cell, (repeat, at), saturated_per_s))
        return told

    with contender.serve() as url:
        told = asyncio.run(_warmed(context, contender.name, url, cells))
    return {"kind": "visit", "system": contender.name, "ours": contender.ours, "repeat": repeat, "cells": told}


async def _cell(
    context: VisitContext, name: str, target: OpenAiTarget, cell: Cell, place: tuple[int, int], saturated_per_s: float
) -> Line:
    scenario, (repeat, at) = context.scenario, place
    open_loop = cell.load is not None
    workload = scenario.workload(scenario.requests if open_loop else scenario.closed_requests, repeat, at)
    rate = None if cell.load is None else cell.load * saturated_per_s
    timed = workload.at_once() if rate is None else workload.at_rate(rate)
    clients = None if open_loop else scenario.clients
    run = await _followed(context, f"{name}, {cell.name}", target, timed, clients)
    _must_answer(run, name)
    lag_ms, _ = run.lag_ms
    return {
        "cell": cell.name,
        "load": cell.load,
        "rate_per_s": rate,
        "failed": len(run.failures),
        "first_failure": next(iter(run.failures), None),
        "lag_p99_ms": lag_ms,
        "trustworthy": run.trustworthy,
        "result": asdict(run.results()),
    }


def _must_answer(run: LoadRun, name: str) -> None:
    if not run.ends_ns():
        raise Unavailable(f"Not one request to {name} succeeded; the first: {run.failures[0]}")


async def _followed(
    context: VisitContext, what: str, target: OpenAiTarget, workload: Workload, clients: int | None
) -> LoadRun:
    """The open loop, or the closed one with so many clients."""
    requests = requests_of(workload, context.vocabulary)
    with context.bar.steps(what, len(requests)) as ended:
        if clients is None:
            return await offer(target, workload, requests, context.clock, ended=ended)
        return await circulate(target, workload, requests, context.clock, clients=clients, ended=ended)


async def _warmed(context: VisitContext, name: str, url: str, then: Callable[[str], Awaitable[list[T]]]) -> list[T]:
    """Probe the server, send what is not counted, then do the rest."""
    scenario = context.scenario
    await _probe(name, url)
    async with _target(context, url) as target:
        workload = scenario.workload(scenario.warmup_requests, WARM_UP).at_once()
        _must_answer(await _followed(context, f"{name}, warm-up", target, workload, None), name)
    return await then(url)


async def _probe(name: str, url: str) -> None:
    """Raise Unavailable unless the server counts as many prompt tokens as it is sent."""
    body = {"model": await first_model(url), "prompt": list(range(PROBE_TOKENS)), "max_tokens": 2}
    body |= {"temperature": 0.0, "ignore_eos": True}
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=PROBE_S)) as session,
            session.post(f"{url}/v1/completions", json=body) as response,
        ):
            told: Any = await response.json(content_type=None)
            counted = told["usage"]["prompt_tokens"]
    except (aiohttp.ClientError, TimeoutError, ValueError, OSError, KeyError, TypeError) as bad:
        raise Unavailable(f"{name} does not answer a completion of token ids ({type(bad).__name__}).") from None
    if counted != PROBE_TOKENS:
        raise Unavailable(f"{name} made {counted} tokens of a prompt of {PROBE_TOKENS}: the same prompts would differ.")


@asynccontextmanager
async def _target(context: VisitContext, url: str) -> AsyncIterator[OpenAiTarget]:
    """A target on connections of its own, closed when the block ends."""
    target = OpenAiTarget(url, await first_model(url), context.clock, patience_s=PATIENCE_S)
    try:
        yield target
    finally:
        await target.close()
