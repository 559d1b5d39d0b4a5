"""kill -9 of engine and door: nothing acknowledged is lost, no token is skipped or sent twice, and
nobody stays behind.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest
from kill_rounds import kill_rounds, soak_rounds
from process_server import Server, alive, spec

from skipjoin.proto import job_pool_pb2 as pb

Serve = Callable[..., Server]


def test_a_stream_goes_on_over_the_death_of_the_engine(serve: Serve) -> None:
    server = serve("--simulated-scale", "1")
    with server.stub() as stub:
        stream = stub.Generate(pb.GenerateRequest(spec=spec("survive", 120, seed=5)))
        assert next(stream).HasField("job")
        tokens: list[int] = []
        killed = None
        for item in stream:
            assert item.chunk.offset == len(tokens)
            tokens += item.chunk.token_ids
            if killed is None and len(tokens) > 20:
                killed = server.kill_engine()
        assert len(tokens) == 120
        assert killed is not None
        assert server.engine_pid() != killed
        # The same job undisturbed: a restart changes no token.
        calm = list(stub.Generate(pb.GenerateRequest(spec=spec("survive", 120, seed=5))))
        assert [t for item in calm[1:] for t in item.chunk.token_ids] == tokens


def test_a_restarted_door_takes_up_every_job_at_the_clients_offset(serve: Serve) -> None:
    server = serve("--simulated-scale", "1")
    with server.stub() as stub:
        job = stub.Submit(pb.SubmitRequest(spec=spec("resume", 100, seed=9))).job
        waiting = stub.Submit(pb.SubmitRequest(spec=spec("too", 5), request_id="too")).job
        tokens: list[int] = []
        for item in stub.Stream(pb.StreamRequest(job_id=job.job_id)):
            tokens += item.chunk.token_ids
            if len(tokens) > 10:
                break
        engine = server.engine_pid()
        server.kill()
    end = time.monotonic() + 10
    while alive(engine):
        assert time.monotonic() < end, "the engine outlived its door"
        time.sleep(0.01)
    server.start()
    with server.stub() as stub:
        for item in stub.Stream(pb.StreamRequest(job_id=job.job_id, offset=len(tokens))):
            assert item.chunk.offset == len(tokens)
            tokens += item.chunk.token_ids
        assert len(tokens) == 100
        assert stub.Submit(pb.SubmitRequest(spec=spec("too", 5), request_id="too")).job.job_id == waiting.job_id
        last = list(stub.Stream(pb.StreamRequest(job_id=waiting.job_id)))[-1].chunk
        assert last.finish.output_tokens == 5


def test_health_says_when_there_is_no_engine(serve: Serve) -> None:
    from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
    from grpc_health.v1.health_pb2_grpc import HealthStub

    server = serve()
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        watch = HealthStub(channel).Watch(HealthCheckRequest(service="skipjoin.v1.JobPoolService"), timeout=30)
        assert next(watch).status == HealthCheckResponse.SERVING
        server.kill_engine()
        assert next(watch).status == HealthCheckResponse.NOT_SERVING
        assert next(watch).status == HealthCheckResponse.SERVING


def _blows(server: Server, rounds: int) -> list[Callable[[], object]]:
    """`rounds` deaths of each kind."""

    def door() -> None:
        server.kill()
        server.start()

    return [server.kill_engine, door] * rounds


@pytest.mark.parametrize("ahead", ["off", "on"])
def test_ten_kills_of_each_lose_nothing(serve: Serve, tmp_path: Path, ahead: str) -> None:
    server = serve("--simulated-scale", "0.5", "--kv-tokens", "512", "--max-batch", "4", "--run-ahead", ahead)
    kill_rounds(server, tmp_path, _blows(server, 10))


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_two_thousand_kills_lose_nothing(serve: Serve, tmp_path: Path) -> None:
    server = serve("--simulated-scale", "0.5", "--kv-tokens", "512", "--max-batch", "4", "--restart-backoff-s", "0.2")
    kill_rounds(server, tmp_path, _blows(server, soak_rounds(2000) // 2), clients=8)


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_two_hundred_kills_with_a_real_model_lose_nothing(serve: Serve, tmp_path: Path) -> None:
    from skipjoin.model.presets import init_model

    init_model(tmp_path / "model", "tiny", seed=1)
    flags = ["--model", str(tmp_path / "model"), "--device", "cpu", "--threads", "1", "--kv-tokens", "512"]
    server = serve(*flags, "--max-batch", "4", "--restart-backoff-s", "0.2", simulated=False)
    kill_rounds(server, tmp_path, _blows(server, soak_rounds(200) // 2), clients=4, quiet_s=(0.5, 2.5))
