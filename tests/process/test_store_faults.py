"""A running server whose job pool is locked, goes away, is full, or is asked for long lists: what
clients, health and the log are told.
"""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable

import grpc
import pytest
from bystander import bystander
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub
from http_client import HTTP, call, http_port
from process_server import Server, spec

from skipjoin.proto import job_pool_pb2 as pb
from skipjoin.proto.job_pool_pb2_grpc import JobPoolServiceStub

Serve = Callable[..., Server]
PUBLIC = "skipjoin.v1.JobPoolService"


def _until(holds: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < end, what
        time.sleep(0.02)


def _healthy(server: Server) -> bool:
    """Both doors say the same; it may change between two questions, so one is asked before and
    behind the other.
    """
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        health = HealthStub(channel)

        def serving() -> bool:
            answer = health.Check(HealthCheckRequest(service=PUBLIC), timeout=10)
            return bool(answer.status == HealthCheckResponse.SERVING)

        before = serving()
        over_http = call(http_port(server), "/health").status == 200
        assert over_http in {before, serving()}
    return over_http


def _refused(stub: JobPoolServiceStub) -> str:
    """A newcomer is refused, with a type and a hint when to come back; answers the sentence."""
    with pytest.raises(grpc.RpcError) as caught:
        stub.Submit(pb.SubmitRequest(spec=spec("late")), timeout=10)
    refusal = caught.value
    assert refusal.code() is grpc.StatusCode.UNAVAILABLE
    details = Status.FromString(dict(refusal.trailing_metadata())["grpc-status-details-bin"]).details
    assert any(b"STORE_UNAVAILABLE" in detail.value for detail in details)
    assert any(detail.Is(RetryInfo.DESCRIPTOR) for detail in details)
    return str(refusal.details())


def _logged(server: Server, words: str) -> int:
    return server.log.read_text().count(words)


def test_a_locked_pool_pauses_the_engine_and_goes_on(serve: Serve) -> None:
    server = serve("--simulated-scale", "1", *HTTP)
    with server.stub() as stub:
        job = stub.Submit(pb.SubmitRequest(spec=spec("long", 2000, ignore_eos=True))).job.job_id
        _until(lambda: stub.Get(pb.GetRequest(job_id=job)).job.output_tokens > 5, "nothing is computed")
        other = sqlite3.connect(server.folder / "jobs.sqlite", isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        _until(lambda: not _healthy(server), "health does not say it")
        assert "locked by another program" in _refused(stub)
        with pytest.raises(grpc.RpcError, match="locked"):
            stub.Cancel(pb.CancelRequest(job_id=job), timeout=10)
        before = stub.Get(pb.GetRequest(job_id=job), timeout=10).job.output_tokens
        assert len(stub.List(pb.ListRequest(), timeout=10).jobs) == 1
        time.sleep(1.0)  # as long as some retries take
        assert stub.Get(pb.GetRequest(job_id=job), timeout=10).job.output_tokens == before
        other.execute("ROLLBACK")
        other.close()
        _until(lambda: _healthy(server), "health does not come back")
        _until(lambda: stub.Get(pb.GetRequest(job_id=job)).job.output_tokens > before, "the job does not go on")
        stub.Submit(pb.SubmitRequest(spec=spec("welcome")))
    assert _logged(server, "locked by another program") == 1
    assert _logged(server, "works again") == 1


def test_a_pool_that_goes_away_and_comes_back(serve: Serve) -> None:
    server = serve("--simulated-scale", "1", *HTTP)
    pool = server.folder / "jobs.sqlite"
    with server.stub() as stub:
        job = stub.Submit(pb.SubmitRequest(spec=spec("long", 300, ignore_eos=True))).job.job_id
        pool.rename(server.folder / "away")
        assert "deleted, moved or replaced" in _refused(stub)
        assert not _healthy(server)
        (server.folder / "away").rename(pool)
        _until(lambda: _healthy(server), "health does not come back")
        chunks = list(stub.Stream(pb.StreamRequest(job_id=job)))
        assert sum(len(item.chunk.token_ids) for item in chunks) == 300
    assert _logged(server, "deleted, moved or replaced") == 1


def test_an_idle_server_notices_too_and_ends_at_once_when_told(serve: Serve) -> None:
    server = serve(*HTTP)
    (server.folder / "jobs.sqlite").unlink()
    _until(lambda: not _healthy(server), "health does not say it")
    assert server.terminate() == 0


def test_acknowledged_jobs_outlive_a_lost_log_and_a_kill(serve: Serve) -> None:
    server = serve()
    with server.stub() as stub:
        jobs = [stub.Submit(pb.SubmitRequest(spec=spec(f"job {n}", 3))).job.job_id for n in range(5)]
        (server.folder / "jobs.sqlite-wal").unlink()
        assert "write-ahead log" in _refused(stub)
    server.kill()
    server.start()
    with server.stub() as stub:
        for job in jobs:
            assert list(stub.Stream(pb.StreamRequest(job_id=job)))[-1].chunk.finish.output_tokens == 3


def test_a_file_that_is_overwritten_behind_a_checkpoint_is_never_said_to_work_again(serve: Serve) -> None:
    server = serve(*HTTP)
    pool = server.folder / "jobs.sqlite"
    with server.stub() as stub:
        job = stub.Submit(pb.SubmitRequest(spec=spec("first", 2), request_id="r-1")).job.job_id
        # To its end: what the server commits behind the checkpoint would be in the log, which may
        # then hold all pages still.
        assert list(stub.Stream(pb.StreamRequest(job_id=job)))[-1].chunk.HasField("finish")
        other = sqlite3.connect(pool, isolation_level=None)
        other.execute("PRAGMA wal_checkpoint(FULL)").fetchall()
        other.close()
        with pool.open("r+b") as file:
            file.write(b"\xa5" * pool.stat().st_size)
        assert "wrote into" in _refused(stub)
        for request in ("r-1", "r-2"):
            with pytest.raises(grpc.RpcError) as caught:
                stub.Submit(pb.SubmitRequest(spec=spec("first", 2), request_id=request), timeout=10)
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        time.sleep(1.0)  # as long as some probes take
        assert not _healthy(server)
    assert _logged(server, "works again") == 0


_LISTS = """
import sys, threading
import grpc
from skipjoin.proto import job_pool_pb2 as pb
from skipjoin.proto.job_pool_pb2_grpc import JobPoolServiceStub
stub = JobPoolServiceStub(grpc.insecure_channel(sys.argv[1]))
def ask():
    for _ in range(3):
        assert len(stub.List(pb.ListRequest(page_size=600), timeout=60).jobs) == 600
threads = [threading.Thread(target=ask) for _ in range(20)]
for thread in threads: thread.start()
for thread in threads: thread.join()
"""


@pytest.mark.alone
def test_twenty_long_lists_at_a_time_hold_up_no_job(serve: Serve) -> None:
    server = serve()
    with server.stub() as stub:
        for n in range(620):  # one behind the other: how many may be open at a time is another test's
            stub.Submit(pb.SubmitRequest(spec=spec(f"job {n}", 1)))
    with bystander(server, "submit") as seen:
        done = subprocess.run([sys.executable, "-c", _LISTS, f"127.0.0.1:{server.port}"], timeout=120, check=False)
    assert done.returncode == 0
    assert seen.failures == 0, seen
    assert seen.longest_s <= 0.5, seen
