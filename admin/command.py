"""`skipjoin admin`: look into a running server and steer it.

Owns the flags. It knows no wire and renders nothing; `words.py` asks. `cli.py` calls it; exit codes
are those of every command: 0 done, 2 bad input, 3 no such job, 4 not your server, 5 no server
answers.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from ..core.clock import sleep_s
from ..core.errors import InvalidInput
from ..core.job import JobState

WATCH_S = 2.0
_ID = "a job's id, or what only this one begins with: four digits at least"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the words of `skipjoin admin`."""
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--json", action="store_true", help="print JSON for a program")
    shared.add_argument(
        "--socket",
        type=Path,
        metavar="PATH",
        help="the server's admin socket (default: SKIPJOIN_ADMIN_SOCKET, else the user's state folder)",
    )
    words = parser.add_subparsers(title="words", dest="word", metavar="WORD", required=True)

    def add(name: str, text: str) -> argparse.ArgumentParser:
        return words.add_parser(name, parents=[shared], help=text, description=text, allow_abbrev=False)

    add("status", "what the server is doing")
    jobs = add("jobs", "list jobs of all tenants, newest first")
    jobs.add_argument(
        "--state", action="append", choices=[state.value for state in JobState], help="only these; may be repeated"
    )
    jobs.add_argument("--tenant", help="only this tenant's")
    jobs.add_argument(
        "--watch",
        type=float,
        nargs="?",
        const=WATCH_S,
        metavar="SECONDS",
        help=f"show them again every so often until Ctrl-C (default: {WATCH_S:g})",
    )
    jobs.add_argument("--limit", type=int, default=20, metavar="N", help="at most N jobs (default: %(default)s)")
    add("job", "one job, and why it was slow").add_argument("job_id", metavar="ID", help=_ID)
    add("queues", "jobs by level of the scheduler")
    add("kv", "KV blocks by residency")
    add("executors", "the ranks that compute: where each runs, its part of the model, its memory and step time")
    cancel = add("cancel", "end a job of any tenant")
    cancel.add_argument("job_id", metavar="ID", help=_ID)
    cancel.add_argument("--reason", default="cancelled by the operator", metavar="TEXT", help="kept with the job")
    policy = add("policy", "show or switch the scheduling policy of the running server, or turn its dial")
    policy.add_argument("policy", metavar="NAME", nargs="?", help="left out: show the policy and its dial")
    policy.add_argument(
        "--tail",
        type=float,
        metavar="X",
        help="dial of a policy that has one: 0 lowest mean, 1 safest tail (default: as it stands; of a policy that "
        "is not on: the server's setting)",
    )
    drain = add("drain", "take no new jobs, let the running ones finish, end the server")
    drain.add_argument(
        "--timeout", type=float, metavar="S", help="seconds they may take (default: the server's setting)"
    )


def run(args: argparse.Namespace) -> int:
    """Ask the server and show the answer. Raises the server's error, Unavailable when none answers,
    PermissionDenied.
    """
    from . import render
    from .connection import Connection, default_socket
    from .words import WORDS

    every_s = getattr(args, "watch", None)
    if every_s is not None and not 0.1 <= every_s <= 3600:
        raise InvalidInput("--watch is out of bounds.", field="watch", limit="0.1..3600 s")
    with Connection(args.socket or default_socket()) as server:
        WORDS[args.word](args, server)
        while every_s is not None:
            sleep_s(every_s)
            if not args.json:
                render.begin_again()
            WORDS[args.word](args, server)
    return 0
