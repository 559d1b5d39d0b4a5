"""A visit: one server from its start to its end, with every cell of the scenario in between.

Owns the contenders (a peer's server with its port and the wait until it answers, or ours), what is
sent in which order and what is kept of it. The flags make contenders alike: device, precision,
slots and room for KV; and each has its threads. `contest` decides which one is visited when.
"""

from __future__ import annotations

import asyncio
import socket
import tempfile
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass
from http.client import HTTPException
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

import aiohttp

from ...core.clock import Clock, MonotonicClock, sleep_s
from ...core.errors import InvalidSettings, SkipjoinError, Unavailable
from ...model.config import ModelConfig
from ...sim.drain import completion_rate
from ...workload.requests import Workload
from ..load.loops import LoadRun, offer, requests_of
from ..load.openai_target import OpenAiTarget, first_model
from ..load.process import MeasuredProcess, OwnServer
from ..progress import Bar
from ..result_lines import Line
from .catalogue import Home, Machine, Peer, ServeWish, clean_environment
from .scenario import DRAIN, WARM_UP, Cell, LiveScenario, kv_tokens

START_S = 600.0
POLL_S = 0.2
HOST = "127.0.0.1"


def free_port(wanted: int | None) -> int:
    """`wanted`, or one that is free. Raises InvalidSettings when it is taken."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, wanted or 0))
        except OSError as bad:
            raise InvalidSettings(
                f"Port {wanted} cannot be used ({bad.strerror}): end who has it, or leave --port out.", field="port"
            ) from None
        port: int = probe.getsockname()[1]
        return port


class PeerServer(MeasuredProcess):
    """Ready when it lists its models. It is asked to end before it is killed."""

    patience_s = (10.0,)

    def __init__(self, name: str, words: Sequence[str], environment: Mapping[str, str], log: Path, port: int) -> None:
        """`words` is the command that serves on `port`; what it says goes to `log`."""
        super().__init__(name, words, environment, log)
        self.url = f"http://{HOST}:{port}"

    def _wait_until_ready(self) -> None:
        clock = MonotonicClock()
        limit_ns = clock.now_ns() + int(START_S * 1e9)
        # No proxy between us and this machine, whatever http_proxy says.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        while clock.now_ns() < limit_ns:
            self.check()
            try:
                with opener.open(f"{self.url}/v1/models", timeout=5) as answer:
                    if answer.status == 200:
                        return
            except urllib.error.HTTPError as bad:
                bad.close()
            except (HTTPException, OSError):
                pass  # not there yet, or not ready yet
            sleep_s(POLL_S)
        raise Unavailable(f"{self.name} did not answer within {START_S:g} s; {self.fate(None)}")


def peer_server(peer: Peer, wish: ServeWish, threads: int, kv_gib: int) -> PeerServer:
    """The peer's own. Raises InvalidSettings when it only decodes or is not installed."""
    if peer.serve is None:
        raise InvalidSettings(f"{peer.name} has no server; `bench engine` compares with it.", field="peer")
    home = Home(peer)
    home.require()
    words = [str(home.python), *peer.serve(wish)]
    wanted = peer.environment(Machine(threads, kv_gib, home.prefix, home.kept))
    return PeerServer(peer.name, words, clean_environment(threads, wanted), home.log, wish.port)


DRAINS = 2
PROBE_TOKENS, PROBE_S = 24, 120.0
PATIENCE_S = 600.0
"""A server that sends nothing for so long has hung; queues are not that long here."""
T = TypeVar("T")


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
        return await offer(target, workload, requests, context.clock, clients=clients, ended=ended)


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
