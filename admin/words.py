"""What each word of `skipjoin admin` asks the server.

Owns the table from word to call, bounds of the flags, and paging through lists. It renders nothing
and opens nothing; `command.py` runs one word of the table.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from typing import TypeVar

from google.protobuf.message import Message

from ..core.clock import unix_ns
from ..core.errors import InvalidInput, NotFound
from ..core.job import JobState
from ..proto import admin_pb2 as pb
from ..proto import job_pool_pb2, terms
from . import render
from .connection import Connection
from .plain import plain

MAX_LIST = 100_000
MAX_DRAIN_S = 10 * 365 * 86_400.0
_PAGE = 1000
_PREFIX = re.compile(r"[0-9a-f]{4,31}", re.ASCII)
_SEARCHED_PAGES = 10
_SHOWN = 5

M = TypeVar("M", bound=Message)


def _show(args: argparse.Namespace, answer: M, show: Callable[[M], None]) -> None:
    if args.json:
        render.show_json(plain(answer))
    else:
        show(answer)


def status(args: argparse.Namespace, server: Connection) -> None:
    """What the server is doing."""
    answer = server.ask(lambda stub: stub.GetStatus, pb.GetStatusRequest())
    _show(args, answer.status, render.show_status)


def jobs(args: argparse.Namespace, server: Connection) -> None:
    """Jobs, newest first, and what the engine does with them."""
    if not 1 <= args.limit <= MAX_LIST:
        raise InvalidInput("--limit is out of bounds.", field="limit", limit=f"1..{MAX_LIST}")
    states = [terms.STATE_TO_WIRE[JobState(name)] for name in args.state or ()]
    found: list[job_pool_pb2.Job] = []
    live: dict[str, pb.LiveJob] = {}
    token = ""
    while True:
        size = min(_PAGE, args.limit - len(found))
        asked = pb.ListJobsRequest(page_size=size, page_token=token, states=states, tenant=args.tenant)
        answer = server.ask(lambda stub: stub.ListJobs, asked)
        found += answer.jobs
        live |= answer.live
        token = answer.next_page_token
        if not token or len(found) >= args.limit:
            break
    if args.json:
        listed = [plain(job) | {"live": plain(live[job.job_id]) if job.job_id in live else None} for job in found]
        render.show_json({"jobs": listed, "more": bool(token)})
    else:
        render.show_jobs(found, bool(token), live, unix_ns())


def _whole_id(begins: str, server: Connection) -> str:
    """The id of the one job that begins so. Raises InvalidInput when several do, NotFound when none
    of the newest does.

    What is no part of an id is left to the server to refuse.
    """
    if not _PREFIX.fullmatch(begins):
        return begins
    found: list[str] = []
    token = ""
    for _ in range(_SEARCHED_PAGES):
        answer = server.ask(lambda stub: stub.ListJobs, pb.ListJobsRequest(page_size=_PAGE, page_token=token))
        found += [job.job_id for job in answer.jobs if job.job_id.startswith(begins)]
        token = answer.next_page_token
        if not token or len(found) > _SHOWN:
            break
    if not found:
        raise NotFound(f"There is no such job: none of the newest begins with {begins}.", field="job_id")
    if len(found) > 1:
        listed = ", ".join(found[:_SHOWN]) + (" and more" if len(found) > _SHOWN else "")
        raise InvalidInput(f"Several jobs begin with {begins}: {listed}.", field="job_id", limit="one job")
    return found[0]


def job(args: argparse.Namespace, server: Connection) -> None:
    """One job and where its time went."""
    _show(
        args,
        server.ask(lambda stub: stub.GetJob, pb.GetJobRequest(job_id=_whole_id(args.job_id, server))),
        render.show_job,
    )


def queues(args: argparse.Namespace, server: Connection) -> None:
    """Jobs by level."""
    _show(args, server.ask(lambda stub: stub.GetQueues, pb.GetQueuesRequest()), render.show_queues)


def kv(args: argparse.Namespace, server: Connection) -> None:
    """Blocks by residency."""
    _show(args, server.ask(lambda stub: stub.GetKv, pb.GetKvRequest()), render.show_kv)


def executors(args: argparse.Namespace, server: Connection) -> None:
    """Ranks of the engine."""
    _show(args, server.ask(lambda stub: stub.GetExecutors, pb.GetExecutorsRequest()), render.show_executors)


def cancel(args: argparse.Namespace, server: Connection) -> None:
    """End a job."""
    asked = pb.CancelJobRequest(job_id=_whole_id(args.job_id, server), reason=args.reason)
    _show(args, server.ask(lambda stub: stub.CancelJob, asked).job, render.show_cancelled)


def policy(args: argparse.Namespace, server: Connection) -> None:
    """Show the policy, switch it, or turn its dial."""
    if args.policy is None:
        if args.tail is not None:
            raise InvalidInput("--tail needs the policy that it is the dial of.", field="policy", limit="a name")
        now = server.ask(lambda stub: stub.GetStatus, pb.GetStatusRequest()).status
        if args.json:
            render.show_json({"policy": now.policy, "tail": now.tail if now.HasField("tail") else None})
        else:
            render.show_policy_now(now)
        return
    asked = pb.SetPolicyRequest(policy=args.policy, tail=args.tail)
    _show(args, server.ask(lambda stub: stub.SetPolicy, asked), render.show_policy)


def drain(args: argparse.Namespace, server: Connection) -> None:
    """Begin the end."""
    asked = pb.DrainRequest()
    if args.timeout is not None:
        if not 0 <= args.timeout <= MAX_DRAIN_S:
            raise InvalidInput("--timeout is out of bounds.", field="timeout", limit=f"0..{MAX_DRAIN_S:g} s")
        asked.timeout.FromNanoseconds(round(args.timeout * 1e9))
    _show(args, server.ask(lambda stub: stub.Drain, asked), render.show_drain)


WORDS: dict[str, Callable[[argparse.Namespace, Connection], None]] = {
    "status": status,
    "jobs": jobs,
    "job": job,
    "queues": queues,
    "kv": kv,
    "executors": executors,
    "cancel": cancel,
    "policy": policy,
    "drain": drain,
}
