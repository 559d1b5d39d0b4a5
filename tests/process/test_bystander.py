"""The bystander sees what it is there to see: a server that stalls, one that refuses, and memory
that grows.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import get_args

from bystander import Ask, bystander, door_memory
from http_client import HTTP
from process_server import Server

Serve = Callable[..., Server]


def test_a_stall_is_seen_by_each_kind_of_ask_also_when_it_lasts_to_the_end(serve: Serve) -> None:
    server = serve(*HTTP)
    for ask in get_args(Ask):
        with bystander(server, ask) as seen:
            time.sleep(0.3)
            server.signal(signal.SIGSTOP)
            time.sleep(0.7)
            server.signal(signal.SIGCONT)
            time.sleep(0.2)
        assert seen.longest_s >= 0.65, (ask, seen)
        assert (seen.failures, seen.reasons) == (0, [])
        assert seen.count >= 3
    with bystander(server) as seen:
        time.sleep(0.2)
        server.signal(signal.SIGSTOP)
        time.sleep(0.7)
    server.signal(signal.SIGCONT)
    assert seen.longest_s >= 0.6


def test_a_server_that_is_gone_is_seen_as_failures(serve: Serve) -> None:
    server = serve(*HTTP)
    with bystander(server) as seen:
        server.kill()
        time.sleep(0.3)
    assert seen.failures >= 1
    assert seen.reasons


def test_memory_that_grew_and_was_given_back_is_seen() -> None:
    held = (
        "import mmap; input(); kept = mmap.mmap(-1, 2**26); kept.write(b'x' * 2**26); print(flush=True); "
        "input(); kept.close(); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", held], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdin is not None and holder.stdout is not None
        with door_memory(holder.pid) as memory:
            print(file=holder.stdin, flush=True)
            holder.stdout.readline()
            time.sleep(0.1)
            print(file=holder.stdin, flush=True)
            time.sleep(0.1)
        print(file=holder.stdin, flush=True)
    assert memory.grown_bytes >= 2**26
    assert memory.end_bytes <= memory.peak_bytes
