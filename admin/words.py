"""What each word of `skipjoin admin` asks the server.

Owns the table from word to call, bounds of the flags, and paging through lists. It renders nothing and opens nothing; `command.py` runs one word
of the table.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TypeVar

from google.protobuf.message import Message

from ..core.errors import InvalidInput
from ..core.job import JobState
from ..proto import admin_pb2 as pb
from ..proto import job_pool_pb2, terms
from . import render
from .connection import Connection
from .plain import plain

MAX_LIST = 100_000
MAX_DRAIN_S = 10 * 365 * 86_400.0
_PAGE = 1000

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
    """Jobs, newest first."""
    if not 1 <= args.limit <= MAX_LIST:
        raise InvalidInput("--limit is out of bounds.", field="limit", limit=f"1..{MAX_LIST}")
    states = [terms.STATE_TO_WIRE[JobState(name)] for name in args.state or ()]
    found: list[job_pool_pb2.Job] = []
    token = ""
    while True:
        size = min(_PAGE, args.limit - len(found))
        asked = pb.ListJobsRequest(page_size=size, page_token=token, states=states, tenant=args.tenant)
        answer = server.ask(lambda stub: stub.ListJobs, asked)
        found += answer.jobs
        token = answer.next_page_token
        if not token or len(found) >= args.limit:
            break
    if args.json:
        render.show_json({"jobs": [plain(job) for job in found], "more": bool(token)})
    else:
        render.show_jobs(found, bool(token))


def job(args: argparse.Namespace, server: Connection) -> None:
    """One job and where its time went."""
    _show(args, server.ask(lambda stub: stub.GetJob, pb.GetJobRequest(job_id=args.job_id)), render.show_job)


def queues(args: argparse.Namespace, server: Connection) -> None:
    """Jobs by level."""
    _show(args, server.ask(lambda stub: stub.GetQueues, pb.GetQueuesRequest()), render.show_queues)


def kv(args: argparse.Namespace, server: Connection) -> None:
    """Blocks by residency."""
    _show(args, server.ask(lambda stub: stub.GetKv, pb.GetKvRequest()), render.show_kv)


def cancel(args: argparse.Namespace, server: Connection) -> None:
    """End a job."""
    asked = pb.CancelJobRequest(job_id=args.job_id, reason=args.reason)
    _show(args, server.ask(lambda stub: stub.CancelJob, asked).job, render.show_cancelled)


def policy(args: argparse.Namespace, server: Connection) -> None:
    """Switch the policy, or turn its dial."""
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
    "cancel": cancel,
    "policy": policy,
    "drain": drain,
}
