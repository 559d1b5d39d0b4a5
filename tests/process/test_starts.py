"""Engines that start badly, hang or leave no trace of themselves: each is noticed, replaced, and
nothing stays behind.
"""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub
from process_server import COMMAND, Server, alive, spec

from skipjoin.model.presets import init_model
from skipjoin.proto import job_pool_pb2 as pb

Serve = Callable[..., Server]
SERVING, NOT_SERVING = HealthCheckResponse.SERVING, HealthCheckResponse.NOT_SERVING


def test_a_first_engine_without_progress_ends_the_server_with_a_sentence(tmp_path: Path) -> None:
    fifo = tmp_path / "profile.json"
    os.mkfifo(fifo)  # reading it waits for ever, with every signal answered
    server = Server(tmp_path, "--profile", str(fifo), "--start-stall-s", "4")
    ran = subprocess.run(
        [*COMMAND, *server.flags], capture_output=True, text=True, timeout=60, check=False, env=_environ(tmp_path)
    )
    assert ran.returncode == 1
    assert "skipjoin: The engine made no progress for" in ran.stderr
    assert "while it was reading" in ran.stderr
    assert "start_stall_s" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_a_first_engine_that_dies_before_it_is_ready_ends_the_server_with_a_sentence(tmp_path: Path) -> None:
    fifo = tmp_path / "profile.json"
    os.mkfifo(fifo)
    server = Server(tmp_path, "--profile", str(fifo))
    with server.log.open("w") as log:
        door = subprocess.Popen([*COMMAND, *server.flags], stdout=log, stderr=log)
    server.adopt(door)
    server.kill_engine()
    assert door.wait(30) == 1
    assert "The engine process was killed by SIGKILL while it was" in server.log.read_text()


@pytest.mark.timeout(120)
def test_an_engine_that_is_stopped_before_it_is_ready_is_replaced(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("SKIPJOIN_NATIVE", "off")
    init_model(tmp_path / "model", "tiny", seed=7)
    flags = ["--model", str(tmp_path / "model"), "--device", "cpu", "--threads", "1", "--kv-tokens", "2048"]
    server = serve(*flags, "--max-batch", "4", "--start-stall-s", "6", simulated=False)
    for profile in (tmp_path / "cache" / "skipjoin" / "profiles").iterdir():
        profile.unlink()  # so that the next engine measures for seconds, in which it can be stopped
    server.kill_engine()
    server.wait_for_line("measuring a coarse cost profile", count=2)
    stopped = server.engine_pid()
    os.kill(stopped, signal.SIGSTOP)
    server.wait_for_line("made no progress for 6 s while it was measuring")
    server.wait_for_line("engine 3 took over")
    assert not alive(stopped)
    _one_job(server)


def test_a_spare_that_does_not_answer_or_dies_is_replaced(serve: Serve) -> None:
    server = serve("--start-stall-s", "5")
    stopped = server.spare_pid()
    os.kill(stopped, signal.SIGSTOP)
    server.kill_engine()
    server.wait_for_line("the spare has not answered")
    importing = server.spare_pid()
    assert importing != stopped
    os.kill(importing, signal.SIGSTOP)  # an engine is awaited from it: nothing imports on
    server.wait_for_line("engine 2 is killed: The engine made no progress")
    server.wait_for_line("took over")
    _one_job(server)
    os.kill(server.spare_pid(), signal.SIGKILL)
    server.wait_for_line("the spare engine was killed by SIGKILL")
    server.kill_engine()  # perhaps before there is another
    server.wait_for_line("took over", count=2)
    _one_job(server)
    assert not alive(stopped)
    assert not alive(importing)


def test_health_says_that_an_engine_hangs_and_that_it_goes_on(serve: Serve) -> None:
    server = serve("--simulated-scale", "1", "--stall-s", "6")
    engine = server.engine_pid()
    with server.stub() as stub, grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        watch = HealthStub(channel).Watch(HealthCheckRequest(service="skipjoin.v1.JobPoolService"), timeout=60)
        assert next(watch).status == SERVING
        job = stub.Submit(pb.SubmitRequest(spec=spec("hangs", 4000, ignore_eos=True))).job
        server.wait_for_tokens(job.job_id, 1)
        os.kill(engine, signal.SIGSTOP)
        assert next(watch).status == NOT_SERVING
        os.kill(engine, signal.SIGCONT)
        assert next(watch).status == SERVING
        assert server.engine_pid() == engine
        os.kill(engine, signal.SIGSTOP)
        assert next(watch).status == NOT_SERVING
        assert next(watch).status == SERVING
        assert not alive(engine)
        stub.Cancel(pb.CancelRequest(job_id=job.job_id))
    server.wait_for_line("has said nothing for 6 s and is killed")


def test_an_engine_without_work_that_hangs_is_noticed_before_a_job_comes(serve: Serve) -> None:
    server = serve("--stall-s", "3")
    engine = server.engine_pid()
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        watch = HealthStub(channel).Watch(HealthCheckRequest(service="skipjoin.v1.JobPoolService"), timeout=60)
        assert next(watch).status == SERVING
        os.kill(engine, signal.SIGSTOP)
        assert next(watch).status == NOT_SERVING
        assert next(watch).status == SERVING
    assert not alive(engine)
    _one_job(server)


def test_a_spare_comes_again_after_an_engine_that_was_started_from_nothing(serve: Serve) -> None:
    server = serve()
    os.kill(server.spare_pid(), signal.SIGSTOP)
    server.kill_engine()
    server.wait_for_line("the spare has not answered")
    os.kill(server.spare_pid(), signal.SIGKILL)  # it still imports, and an engine is awaited from it
    server.wait_for_line("no engine can be forked", count=2)
    server.wait_for_line("took over")
    assert server.spare_pid()


def test_a_long_iteration_is_no_hang(serve: Serve) -> None:
    server = serve("--simulated-scale", "150", "--stall-s", "2")  # an iteration takes some four seconds
    engine = server.engine_pid()
    _one_job(server, tokens=2)
    assert server.engine_pid() == engine
    assert "says nothing" not in server.log.read_text()


def test_a_door_that_was_stopped_does_not_blame_its_engine(serve: Serve) -> None:
    server = serve("--simulated-scale", "1", "--stall-s", "2")
    engine = server.engine_pid()
    with server.stub() as stub:
        job = stub.Submit(pb.SubmitRequest(spec=spec("long", 3000, ignore_eos=True))).job
        server.wait_for_tokens(job.job_id, 1)
        server.signal(signal.SIGSTOP)
        time.sleep(4)
        server.signal(signal.SIGCONT)
        seen = stub.Get(pb.GetRequest(job_id=job.job_id)).job.output_tokens
        server.wait_for_tokens(job.job_id, seen + 1)
        stub.Cancel(pb.CancelRequest(job_id=job.job_id))
    assert server.engine_pid() == engine


def test_a_killed_door_leaves_neither_engine_nor_spare(serve: Serve) -> None:
    server = serve()
    left = [server.engine_pid(), server.spare_pid()]
    server.kill()
    _all_gone(left)


def test_two_signals_end_all_at_once(serve: Serve) -> None:
    server = serve("--simulated-scale", "1")
    left = [server.engine_pid(), server.spare_pid()]
    with server.stub() as stub:
        stub.Submit(pb.SubmitRequest(spec=spec("long", 3000, ignore_eos=True)))
        os.kill(left[0], signal.SIGSTOP)  # not even one that hangs is waited for
        server.signal(signal.SIGTERM)
        server.signal(signal.SIGTERM)
        assert server.wait(20) == 0
    _all_gone(left)


def test_without_a_spare_engines_start_from_nothing(serve: Serve) -> None:
    server = serve("--no-spare-engine")
    server.kill_engine()
    server.wait_for_line("took over")
    _one_job(server)
    with pytest.raises(AssertionError, match="no spare"):
        server.spare_pid(patience_s=0.1)


@pytest.mark.parametrize("flag", ["--spare-engine", "--no-spare-engine"])
def test_an_engine_that_the_system_refuses_is_tried_again(serve: Serve, flag: str) -> None:
    server = serve(flag, "--restart-backoff-s", "0.5")
    with server.stub() as stub:
        stub.Submit(pb.SubmitRequest(spec=spec("before", 4)))  # the connection stands from now on
        limits = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (4, limits[1]))
        server.kill_engine()
        server.wait_for_line("cannot be started: Too many open files", count=2)
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE, limits)
        server.wait_for_line("took over")
    _one_job(server)


def test_an_engine_starts_on_descriptors_in_reserve(serve: Serve) -> None:
    server = serve("--restart-backoff-s", "0.2")
    taken = len(os.listdir(f"/proc/{server.pid}/fd"))
    with server.stub() as stub:
        stub.Submit(pb.SubmitRequest(spec=spec("before", 4)))
        limits = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (taken, limits[1]))  # every number up to there is in use
        server.kill_engine()
        server.wait_for_line("took over")
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE, limits)
    _one_job(server)


def test_no_child_is_unknown_after_many_kills(serve: Serve) -> None:
    for flag in ("--spare-engine", "--no-spare-engine"):
        server = serve(flag, "--restart-backoff-s", "0.1", folder=flag.strip("-"))
        for kills in range(1, 5):
            server.kill_engine()
            server.wait_for_line("took over", count=kills)
        server.terminate()
        said = server.log.read_text()
        assert "nknown child" not in said
        assert said.count("was killed by SIGKILL") == 4


def _one_job(server: Server, tokens: int = 4) -> None:
    with server.stub() as stub:
        items = list(stub.Generate(pb.GenerateRequest(spec=spec("one", tokens, ignore_eos=True)), timeout=60))
    assert sum(len(item.chunk.token_ids) for item in items[1:]) == tokens


def _all_gone(pids: list[int]) -> None:
    end = time.monotonic() + 10
    while any(alive(pid) for pid in pids):
        assert time.monotonic() < end, "a process outlived its door"
        time.sleep(0.01)


def _environ(folder: Path) -> dict[str, str]:
    return {**os.environ, "XDG_CACHE_HOME": str(folder / "cache")}
