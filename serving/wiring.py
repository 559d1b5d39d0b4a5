"""Constructs every concrete of the live half.

Owns the one place where the door's parts meet their implementations: pool, tokenizer, listeners, servicers. It runs
nothing and decides nothing; `serving/command.py` calls `build_door`.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import grpc.aio
from grpc_health.v1 import health_pb2

from .. import __version__
from ..core.clock import Clock, MonotonicClock
from ..core.jobpool import JobPool
from ..core.sampling import SamplingParams
from ..jobpool.registry import open_pool
from ..proto import admin_pb2, job_pool_pb2
from .door.access import Access, read_tokens
from .door.backlog import Backlog
from .door.claimed import ClaimedJobs
from .door.claims import Claims
from .door.deadlines import Deadlines
from .door.descriptors import raise_limit, room_for_connections
from .door.door import PUBLIC_SERVICE, Door
from .door.engines import Engines
from .door.in_line import InLine
from .door.intake import Intake
from .door.jobs import Jobs
from .door.journal import Journal
from .door.metrics import DoorState, Metrics
from .door.open_jobs import OpenJobs
from .door.patience import Patience
from .door.payloads import Payloads
from .door.questions import Questions
from .door.scrape import Scrape
from .door.shares import Shares
from .door.spare import Spare
from .door.store import Store
from .door.streams import Streams
from .door.supervisor import Supervisor
from .door.sweep import Sweep
from .door.text import Tokenizer
from .door.turns import Turns
from .facts import EngineFacts
from .grpc.admin_servicer import AdminServicer
from .grpc.admission import Admission
from .grpc.health import MAX_BYTES as MAX_HEALTH_BYTES
from .grpc.health import MAX_CALLS as MAX_HEALTH_CALLS
from .grpc.health import Health
from .grpc.job_servicer import JobServicer
from .grpc.listeners import operator_listener, public_listener
from .grpc.messages import MessageBounds, Messages
from .grpc.rpc import Gate, UnknownMethods, anyone, by_token, operator
from .grpc.waiting import Waiting, arrivals, newest_server
from .http.body import Bodies
from .http.door import HttpDoor, Insight
from .http.openai.calls import OpenAiCalls
from .settings import ServeSettings, split_address
from .tokenizers import defaults_for, output_cap_for, tokenizer_for

log = logging.getLogger("skipjoin.door")

MAX_OPERATOR_CALLS = 32

OnReady = Callable[[EngineFacts, int, int | None], None]
"""Called once with the engine's facts, the gRPC port and the HTTP port."""


async def build_door(
    settings: ServeSettings,
    on_ready: OnReady,
    spare: Spare | None = None,
    rested: Callable[[], bool] = lambda: False,
) -> Door:
    """Everything, joined and bound but not started.

    `spare` is the engine's process where it was begun before; `rested` says whether the event loop had nothing to do
    since this was last asked. Raises InvalidSettings, InvalidModel, StoreUnavailable.
    """
    clock = MonotonicClock()
    access = read_tokens(settings.tokens)
    tokenizer, defaults = tokenizer_for(settings), defaults_for(settings)
    store = await Store.open(pool_maker(settings))
    try:
        server, port = public_listener(settings)
        waiting = Waiting(arrivals(newest_server()), rested, clock)
        turns = Turns(lambda: waiting.count() > 0)
        jobs, supervisor, questions = await _jobs(settings, store, access, tokenizer, defaults, clock, spare, turns)
        metrics = _metrics(jobs, supervisor)
        payloads = Payloads(_room(settings, access), lambda: metrics.on_limit("payload_bytes"))
        health = Health(PUBLIC_SERVICE)
        gate = _gate(settings, access, payloads, waiting, metrics)
        _answer(server, gate, servicer := JobServicer(jobs, defaults), health)
        door = Door(
            jobs=jobs,
            supervisor=supervisor,
            servers=[server],
            health=health,
            sides=[],
            followings=[servicer.following],
            deadlines=_deadlines(settings, jobs),
            drain_s=settings.drain_s,
            addresses=lambda: _addresses(settings, port, None if http is None else http.port),
            on_ready=lambda facts: on_ready(facts, port, None if http is None else http.port),
        )
        bodies = Bodies(payloads, settings.max_message_bytes, settings.body_timeout_s)
        calls = _openai_calls(settings, jobs, tokenizer, defaults, bodies, metrics)
        http = _http(settings, access, calls, door, metrics, questions, clock)
        if http is not None:
            door.sides.append(http)
            door.followings.append(calls.following)
        if not settings.check:
            door.servers.append(_operator_server(settings, door, questions, clock))
        return door
    except BaseException:
        await store.close()
        raise


def _openai_calls(
    settings: ServeSettings,
    jobs: Jobs,
    tokenizer: Tokenizer,
    defaults: SamplingParams,
    bodies: Bodies,
    metrics: Metrics,
) -> OpenAiCalls:
    line = _line(settings, metrics, "body")
    return OpenAiCalls(jobs, tokenizer, defaults, bodies, settings.names, settings.stream_comment_s, line)


def _line(settings: ServeSettings, metrics: Metrics, field: str) -> InLine:
    """Where long requests, one at a time, are made into values; `field` is what the caller's door names them."""
    return InLine(settings.prompt_wait_s, lambda: metrics.on_limit("prompt_wait_s"), field=field)


def _room(settings: ServeSettings, access: Access) -> Shares:
    """Who may hold how many bytes of requests."""
    shares = Shares(settings.payload_limit, access.tenants)
    if 0 < shares.own < settings.max_message_bytes:
        log.warning(
            "payload_bytes: the part that each tenant keeps for itself has %d bytes, less than max_message_bytes "
            "(%d): its longest requests "
            "are refused while others fill what is common; %d would do",
            shares.own,
            settings.max_message_bytes,
            2 * len(access.tenants) * settings.max_message_bytes,
        )
    return shares


def _addresses(settings: ServeSettings, port: int, http_port: int | None) -> list[str]:
    http = [] if http_port is None else [f"HTTP {split_address(settings.http_listen or '')[0]}:{http_port}"]
    return [f"gRPC {split_address(settings.listen)[0]}:{port}", *http]


def message_bounds(settings: ServeSettings) -> MessageBounds:
    """What a message over gRPC may be."""
    return MessageBounds(
        settings.max_message_bytes,
        settings.message_timeout_s,
        settings.max_message_fields,
        settings.max_slow_messages,
    )


def _gate(settings: ServeSettings, access: Access, payloads: Payloads, waiting: Waiting, metrics: Metrics) -> Gate:
    """What the public's calls pass."""
    messages = Messages(payloads, message_bounds(settings), _line(settings, metrics, "request"), metrics.on_limit)
    return Gate(
        by_token(access),
        Admission(
            settings.max_streams,
            settings.max_call_wait_ms,
            waiting.wait_ns,
            metrics.on_limit,
            access.tenants,
            settings.max_connection_calls,
        ),
        messages,
        settings.call_cap_s,
        came=waiting.handed_over,
        refused=metrics.on_refused,
    )


def open_to_anyone(gate: Gate) -> Gate:
    """What calls for the health pass: nothing that other calls hold."""
    return replace(
        gate,
        identify=anyone,
        admission=Admission(MAX_HEALTH_CALLS),
        apart={"Watch": Admission(MAX_HEALTH_CALLS)},  # watchers stay: a question has a place whatever they hold
        messages=Messages(Payloads(Shares(2**20)), MessageBounds(MAX_HEALTH_BYTES)),
    )


def _answer(server: grpc.aio.Server, gate: Gate, jobs: JobServicer, health: Health) -> None:
    """Jobs for who has a token, health for anyone."""
    health_service: Any = health_pb2.DESCRIPTOR.services_by_name["Health"]
    gate.serve(server, job_pool_pb2.DESCRIPTOR.services_by_name["JobPoolService"], jobs.methods())
    open_to_anyone(gate).serve(server, health_service, health.methods())
    server.add_generic_rpc_handlers((UnknownMethods(gate.came),))


def _metrics(jobs: Jobs, supervisor: Supervisor) -> Metrics:
    """Metrics that read what the journal publishes."""
    metrics = Metrics()
    jobs.open_jobs.backlog.on_full = lambda: metrics.on_limit("max_queued_jobs")
    jobs.journal.observers.append(metrics.on_effects)
    jobs.journal.end_observers.append(
        lambda claimed, end: metrics.on_end(end, len(claimed.record.job.prompt), len(claimed.tokens))
    )
    jobs.journal.commit_observers.append(metrics.on_commit)

    def engine_changed(ready: bool) -> None:
        metrics.engine_changed()
        if ready and supervisor.facts is not None:
            metrics.page_bytes = supervisor.facts.executor.page_bytes
            cost = supervisor.facts.cost()
            metrics.worst.alone_ns = None if cost is None else cost.alone_ns

    supervisor.on_change.append(engine_changed)
    jobs.intake.on_limit = metrics.on_limit
    return metrics


def _http(
    settings: ServeSettings,
    access: Access,
    calls: OpenAiCalls,
    door: Door,
    metrics: Metrics,
    questions: Questions,
    clock: Clock,
) -> HttpDoor | None:
    if settings.http_listen is None:
        return None
    started_ns = clock.now_ns()

    def state() -> DoorState:
        return DoorState(
            engine_ready=door.supervisor.answering,
            draining=door.draining,
            engine_starts=door.supervisor.incarnation,
            engine_failed_starts=door.supervisor.failed_starts,
            engine_stalls=door.supervisor.stalls,
            spare_ready=door.supervisor.spare_ready,
            open_streams=door.jobs.streams.open,
            uptime_ns=clock.now_ns() - started_ns,
            payload_bytes=calls.bodies.payloads.held_bytes,
        )

    scrape = Scrape(metrics, questions, door.jobs.store, clock, state)
    insight = Insight(lambda: door.serving, scrape.page, metrics.on_refused, metrics.on_limit)
    room = room_for_connections(raise_limit())
    return HttpDoor(settings, settings.http_listen, access, calls, insight, room, clock)


async def _jobs(
    settings: ServeSettings,
    store: Store,
    access: Access,
    tokenizer: Tokenizer,
    defaults: SamplingParams,
    clock: Clock,
    spare: Spare | None,
    turns: Turns,
) -> tuple[Jobs, Supervisor, Questions]:
    epoch = await store.call(lambda pool: pool.open_epoch(owner_name()))
    table, questions = ClaimedJobs(), Questions()
    journal = Journal(store, table, epoch, settings.unflushed_bytes)
    open_jobs = OpenJobs(Backlog(Shares(settings.max_queued_jobs, access.tenants), clock))
    for job in await store.scan(lambda reader: reader.unfinished()):
        open_jobs.found(job)
    journal.end_observers.append(lambda claimed, end: open_jobs.ended(claimed.job_id))
    claims = Claims(
        store,
        table,
        journal,
        clock,
        epoch,
        max_jobs=settings.max_engine_jobs,
        held_prompt_bytes=settings.held_prompt_bytes,
        prompts_ahead_bytes=settings.prompts_ahead_bytes,
    )
    supervisor = Supervisor(
        settings.model_dump(mode="json"),
        Engines(settings, spare),
        table,
        claims,
        journal,
        questions,
        clock,
        patience=Patience(settings.stall_s, settings.start_stall_s, settings.rank_stall_s),
        max_backoff_s=settings.restart_backoff_s,
    )
    intake = Intake(
        tokenizer,
        defaults,
        default_max_new_tokens=output_cap_for(settings),
        job_cap_s=settings.job_cap_s,
        wait_s=settings.prompt_wait_s,
    )
    streams = Streams(store, table, tokenizer, turns)
    journal.news_observers.append(streams.tell)
    jobs = Jobs(store, table, intake, open_jobs, claims, journal, streams, lambda: supervisor.facts, turns)
    return jobs, supervisor, questions


def _deadlines(settings: ServeSettings, jobs: Jobs) -> Deadlines:
    sweep = Sweep(jobs.store, jobs.streams, jobs.open_jobs, jobs.claims, settings.sweep_s, settings.retention_s)
    return Deadlines(jobs.open_jobs, jobs.table, jobs.journal, sweep)


def _operator_server(settings: ServeSettings, door: Door, questions: Questions, clock: Clock) -> grpc.aio.Server:
    admin = AdminServicer(
        jobs=door.jobs,
        supervisor=door.supervisor,
        questions=questions,
        clock=clock,
        started_ns=clock.now_ns(),
        version=__version__,
        pool_name=pool_name(settings),
        tail=settings.tail,
        begin_drain=door.begin_drain,
        draining=lambda: door.draining,
    )
    # Room of their own, as their places are: the public fills its own only.
    messages = Messages(Payloads(Shares(settings.payload_limit)), message_bounds(settings))
    gate = Gate(operator, Admission(MAX_OPERATOR_CALLS), messages, settings.call_cap_s)
    server = operator_listener(settings.admin_path, settings)
    gate.serve(server, admin_pb2.DESCRIPTOR.services_by_name["AdminService"], admin.methods())
    server.add_generic_rpc_handlers((UnknownMethods(),))
    return server


def owner_name() -> str:
    """Who owns the pool's epoch, for a person who looks into it."""
    return f"{socket.gethostname()}:{os.getpid()}"


def pool_name(settings: ServeSettings) -> str:
    """The kind of the pool, without its path."""
    return "memory" if settings.pool_path is None else "sqlite"


def pool_maker(settings: ServeSettings) -> Callable[[], JobPool]:
    """What makes the pool, on the thread that will use it."""
    path = settings.pool_path
    if path is None:
        return lambda: open_pool("memory")
    if not settings.job_pool:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return lambda: open_pool(f"sqlite:{path}")
