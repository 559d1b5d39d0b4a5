"""A visit: one server from its start to its end, with every cell of the scenario in between.

Owns what is sent in which order and what is kept of it. It does not know who serves: a contender gives a server that is up. `contest` decides who is
visited when.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractContextManager, asynccontextmanager
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any, TypeVar

import aiohttp

from ...core.clock import Clock
from ...core.errors import Unavailable
from ...sim.drain import completion_rate
from ...workload.requests import Workload
from ..closed import circulate
from ..live import Reporter
from ..load import LiveRun, offer
from ..openai_target import OpenAiTarget, first_model
from ..prompts import requests_of
from .scenario import DRAIN, WARM_UP, Cell, Scenario

DRAINS = 2
PROBE_TOKENS, PROBE_S = 24, 120.0
PATIENCE_S = 600.0
"""A server that sends nothing for so long has hung; queues are not that long here."""
T = TypeVar("T")
Line = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Contender:
    """`serve` starts a server of its own and answers its URL while the block lasts. `name` is a policy of ours or a peer."""

    name: str
    ours: bool
    serve: Callable[[], AbstractContextManager[str]]


@dataclass(frozen=True, slots=True)
class Ground:
    """What all visits share: the scenario, the size of the vocabulary that token ids are drawn from, the clock, who hears of it."""

    scenario: Scenario
    vocabulary: int
    clock: Clock
    reporter: Reporter


def saturation(ground: Ground, peer: Contender) -> Line:
    """Requests a second that the peer completes when none of them has to be waited for: the median of some drains, all requests at once."""
    scenario = ground.scenario

    failures: list[str] = []

    async def drain(url: str) -> list[float]:
        rates = []
        async with _target(ground, url) as target:
            for number in range(DRAINS):
                workload = scenario.workload(scenario.closed_requests, DRAIN + number).at_once()
                run = await _followed(ground, f"{peer.name}, saturation", target, workload, None)
                _must_answer(run, peer.name)
                failures.extend(run.failures)
                rates.append(
                    completion_rate(
                        run.ends_ns(), field="closed_requests", advice="give the scenario more closed_requests"
                    )
                )
        return rates

    with peer.serve() as url:
        rates = asyncio.run(_warmed(ground, peer.name, url, drain))
    return {
        "kind": "saturation",
        "system": peer.name,
        "rate_per_s": median(rates),
        "drains": rates,
        "failed": len(failures),
        "first_failure": next(iter(failures), None),
    }


def visit(ground: Ground, contender: Contender, repeat: int, saturated_per_s: float) -> Line:
    """Every cell, as one line. Raises Unavailable when the server does not come up, dies, or answers nothing."""

    async def cells(url: str) -> list[Line]:
        told = []
        for at, cell in enumerate(ground.scenario.cells):
            async with _target(ground, url) as target:
                told.append(await _cell(ground, contender.name, target, cell, (repeat, at), saturated_per_s))
        return told

    with contender.serve() as url:
        told = asyncio.run(_warmed(ground, contender.name, url, cells))
    return {"kind": "visit", "system": contender.name, "ours": contender.ours, "repeat": repeat, "cells": told}


async def _cell(
    ground: Ground, name: str, target: OpenAiTarget, cell: Cell, place: tuple[int, int], saturated_per_s: float
) -> Line:
    scenario, (repeat, at) = ground.scenario, place
    open_loop = cell.load is not None
    workload = scenario.workload(scenario.requests if open_loop else scenario.closed_requests, repeat, at)
    rate = None if cell.load is None else cell.load * saturated_per_s
    timed = workload.at_once() if rate is None else workload.at_rate(rate)
    clients = None if open_loop else scenario.clients
    run = await _followed(ground, f"{name}, {cell.name}", target, timed, clients)
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


def _must_answer(run: LiveRun, name: str) -> None:
    if not run.ends_ns():
        raise Unavailable(f"Not one request to {name} succeeded; the first: {run.failures[0]}")


async def _followed(
    ground: Ground, what: str, target: OpenAiTarget, workload: Workload, clients: int | None
) -> LiveRun:
    """The open loop, or the closed one with so many clients."""
    requests = requests_of(workload, ground.vocabulary)
    ground.reporter.begin(what, len(requests))
    try:
        if clients is None:
            return await offer(target, workload, requests, ground.clock, ended=ground.reporter.ended)
        return await circulate(target, workload, requests, ground.clock, clients=clients, ended=ground.reporter.ended)
    finally:
        ground.reporter.end()


async def _warmed(ground: Ground, name: str, url: str, then: Callable[[str], Awaitable[list[T]]]) -> list[T]:
    """Look whether prompts arrive as they were meant, send what is not counted, then do the rest."""
    scenario = ground.scenario
    await _probe(name, url)
    async with _target(ground, url) as target:
        workload = scenario.workload(scenario.warmup_requests, WARM_UP).at_once()
        _must_answer(await _followed(ground, f"{name}, warm-up", target, workload, None), name)
    return await then(url)


async def _probe(name: str, url: str) -> None:
    """Raise Unavailable unless the server counts as many prompt tokens as it is sent."""
    body = {
        "model": await first_model(url),
        "prompt": list(range(PROBE_TOKENS)),
        "max_tokens": 2,
        "temperature": 0.0,
        "ignore_eos": True,
    }
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
async def _target(ground: Ground, url: str) -> AsyncIterator[OpenAiTarget]:
    """A target on connections of its own, closed when the block ends."""
    target = OpenAiTarget(url, await first_model(url), ground.clock, patience_s=PATIENCE_S)
    try:
        yield target
    finally:
        await target.close()
