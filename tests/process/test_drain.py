"""SIGTERM: newcomers are refused, running jobs finish or are parked, the process ends in time and
keeps everything.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest
from process_server import COMMAND, Server, alive, spec

from skipjoin.proto import job_pool_pb2 as pb
from skipjoin.proto.job_pool_pb2_grpc import JobPoolServiceStub

Serve = Callable[..., Server]


def _submit_until_refused(stub: JobPoolServiceStub) -> None:
    for _ in range(1000):
        stub.Submit(pb.SubmitRequest(spec=spec("late", 1)))


def test_running_jobs_finish_and_newcomers_are_refused(serve: Serve) -> None:
    server = serve("--simulated-scale", "1", "--max-batch", "1")
    with server.stub() as stub:
        running = stub.Generate(pb.GenerateRequest(spec=spec("run", 80)))
        running_id = next(running).job.job_id
        next(running)
        queued = stub.Submit(pb.SubmitRequest(spec=spec("wait", 30), request_id="wait")).job
        engine = server.engine_pid()
        server.signal(signal.SIGTERM)
        with pytest.raises(grpc.RpcError) as refused:
            _submit_until_refused(stub)
        assert refused.value.code() == grpc.StatusCode.UNAVAILABLE
        again = stub.Submit(pb.SubmitRequest(spec=spec("wait", 30), request_id="wait")).job
        assert again.job_id == queued.job_id  # no newcomer: its first answer may have been lost
        tokens = [t for item in running for t in item.chunk.token_ids]
        assert len(tokens) >= 79
    assert server.wait(20) == 0
    assert not alive(engine)
    server.start()
    with server.stub() as stub:
        assert stub.Get(pb.GetRequest(job_id=running_id)).job.state == pb.JOB_STATE_SUCCEEDED
        last = list(stub.Stream(pb.StreamRequest(job_id=queued.job_id)))[-1].chunk
        assert last.finish.output_tokens == 30


@pytest.mark.parametrize("second", [False, True])
def test_what_cannot_finish_in_time_is_parked_and_goes_on_later(serve: Serve, second: bool) -> None:
    server = serve("--simulated-scale", "2", "--drain-s", "60" if second else "0.5")
    with server.stub() as stub:
        stream = stub.Generate(pb.GenerateRequest(spec=spec("park", 200)))
        job = next(stream).job
        tokens = list(next(stream).chunk.token_ids)
        server.signal(signal.SIGTERM)
        if second:
            time.sleep(0.2)
            server.signal(signal.SIGTERM)
        with pytest.raises(grpc.RpcError) as parked:
            tokens.extend(token for item in stream for token in item.chunk.token_ids)
        assert parked.value.code() == grpc.StatusCode.UNAVAILABLE
        assert server.wait(20) == 0
    server.start()
    with server.stub() as stub:
        for item in stub.Stream(pb.StreamRequest(job_id=job.job_id, offset=len(tokens))):
            assert item.chunk.offset == len(tokens)
            tokens += item.chunk.token_ids
    assert len(tokens) == 200


@pytest.mark.parametrize(("flags", "code"), [((), 0), (("--check",), 130)])
def test_ctrl_c_while_the_engine_loads_does_not_wait_for_it(tmp_path: Path, flags: tuple[str, ...], code: int) -> None:
    slow = tmp_path / "profile"
    os.mkfifo(slow)
    starting = subprocess.Popen(
        [*COMMAND, "--executor", "simulated", "--profile", str(slow), "--job-pool", "memory", "--listen", "127.0.0.1:0",
         "--http-listen", "", "--admin-socket", str(tmp_path / "a.sock"), *flags],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    with starting, slow.open("wb"):  # opens once the engine reads, which waits for bytes that never come
        starting.send_signal(signal.SIGINT)
        out, err = starting.communicate(timeout=20)
    assert (starting.returncode, out) == (code, b"")
    assert b"Traceback" not in err


def test_ctrl_c_while_nothing_runs_ends_at_once(serve: Serve) -> None:
    server = serve()
    server.signal(signal.SIGINT)
    assert server.wait(15) == 0
