"""Ranks are killed and stopped again and again under load: no job is lost, and no token is missed or
repeated.
"""

from __future__ import annotations

import os
import random
import re
import signal
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest
from kill_rounds import kill_rounds, soak_rounds
from process_server import Server, alive

from skipjoin.model.presets import init_model
from skipjoin.proto.admin_pb2 import GetStatusRequest
from skipjoin.proto.admin_pb2_grpc import AdminServiceStub

Serve = Callable[..., Server]
PATIENCE_S = 120.0
LONGEST = 30
ENOUGH_JOBS = 6


class Blows:
    """What may become of a rank of this server that is not the first."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._random = random.Random(3)

    def kill(self) -> None:
        """As the system does where memory ends."""
        self._let_jobs_end()
        os.kill(self._one(), signal.SIGKILL)

    def stop(self) -> None:
        """It hangs, and everybody who waits for it; the door has to end that."""
        self._let_jobs_end()
        pid = self._one()
        os.kill(pid, signal.SIGSTOP)
        end = time.monotonic() + PATIENCE_S
        while alive(pid):
            assert time.monotonic() < end, "a rank that hangs outlives its engine"
            time.sleep(0.02)

    def _let_jobs_end(self) -> None:
        """A job that is computed in three crashes in a row is failed, as it has to be."""
        wanted, end = self._ended() + ENOUGH_JOBS, time.monotonic() + PATIENCE_S
        while self._ended() < wanted:
            assert time.monotonic() < end, "no engine ends a job"
            time.sleep(0.05)

    def _ended(self) -> int:
        options = [("grpc.default_authority", "localhost")]
        with grpc.insecure_channel(f"unix:{self._server.admin}", options=options) as channel:
            return int(AdminServiceStub(channel).GetStatus(GetStatusRequest(), timeout=30).status.final_jobs)

    def _one(self) -> int:
        return self._random.choice(self._server.rank_pids(1, patience_s=PATIENCE_S))


def _served(serve: Serve, folder: Path, monkeypatch: pytest.MonkeyPatch, *flags: str) -> Server:
    """Two ranks, whose books are checked after every turn."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    init_model(folder / "model", "tiny", seed=1)
    base = ["--model", str(folder / "model"), "--device", "cpu", "--threads", "1", "--tensor-parallel", "2"]
    base += ["--kv-tokens", "512", "--max-batch", "4", "--validate-every-turn", "--restart-backoff-s", "0.2"]
    return serve(*base, *flags, simulated=False)


def _blow(server: Server, folder: Path, kills: int, stops: int) -> None:
    blows = Blows(server)
    kill_rounds(server, folder, [blows.kill] * kills + [blows.stop] * stops, longest=LONGEST, quiet_s=(0.0, 0.5))
    log = server.log.read_text()
    assert "contradict" not in log and "Traceback" not in log, log[-3000:]
    back_s = [float(found) for found in re.findall(r"took over after ([\d.]+) s", log)]
    assert len(back_s) >= stops, "who stops a rank ends an engine"
    print(f"{len(back_s)} engines took over: median {statistics.median(back_s)} s, longest {max(back_s)} s")


@pytest.mark.timeout(600)
def test_five_kills_and_five_stops_of_a_rank_lose_nothing(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = _served(serve, tmp_path, monkeypatch, "--stall-s", "2")
    _blow(server, tmp_path, 5, 5)


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_two_hundred_kills_and_fifty_stops_of_a_rank_lose_nothing(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the deadline that a user has."""
    blows = soak_rounds(250)
    server = _served(serve, tmp_path, monkeypatch)
    _blow(server, tmp_path, blows - blows // 5, blows // 5)
