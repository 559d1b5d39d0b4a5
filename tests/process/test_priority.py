"""What a caller says is urgent, and how long the last answer of a conversation was, on their way
through a real server.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest
from http_client import HTTP, call, http_port
from process_server import Server, spec

from skipjoin.client import Client
from skipjoin.engine.record import replay
from skipjoin.proto import job_pool_pb2 as pb
from skipjoin.proto.status import error_of_call

Serve = Callable[..., Server]


def test_an_urgent_job_that_comes_late_passes_those_that_are_there(serve: Serve) -> None:
    server = serve("--policy", "priority", "--max-batch", "1", "--simulated-scale", "1")
    with server.stub() as stub:

        def submit(priority: int, tokens: int) -> str:
            asked = spec("hello", tokens, seed=1, ignore_eos=True, priority=priority)
            return stub.Submit(pb.SubmitRequest(spec=asked)).job.job_id

        def job(job_id: str) -> pb.Job:
            return stub.Get(pb.GetRequest(job_id=job_id)).job

        def follow(job_id: str) -> None:
            for _ in stub.Stream(pb.StreamRequest(job_id=job_id)):
                pass

        running = submit(0, 80)
        next(iter(stub.Stream(pb.StreamRequest(job_id=running))))
        patient, usual = submit(5, 4), submit(0, 4)
        urgent = submit(-5, 4)
        follow(urgent)
        assert not job(running).HasField("finish_time")
        for job_id in (running, patient, usual):
            follow(job_id)
        ended = [job(job_id) for job_id in (urgent, running, usual, patient)]
    times = [one.finish_time.ToNanoseconds() for one in ended]
    assert times == sorted(times)
    assert [one.priority for one in ended] == [-5, 0, 0, 5]
    assert [one.account.preemptions for one in ended] == [0, 1, 0, 0]
    assert all(one.state == pb.JOB_STATE_SUCCEEDED for one in ended)


def test_every_door_takes_them_and_the_record_has_them(serve: Serve, tmp_path: Path) -> None:
    record = tmp_path / "run.jsonl"
    server = serve("--policy", "priority", "--record", str(record), *HTTP)
    talk = [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "a" * 30},
        {"role": "user", "content": "so"},
    ]
    port = http_port(server)
    body = {"messages": talk, "max_tokens": 2, "ignore_eos": True, "priority": 9}
    assert call(port, "/v1/chat/completions", body).status == 200
    assert call(port, "/v1/completions", {"prompt": "x", "max_tokens": 2, "priority": -100}).status == 200
    with Client(f"127.0.0.1:{server.port}") as client:
        job = client.submit(messages=talk[:2], params={"max_new_tokens": 2}, priority=-3)
        assert job.priority == client.get(job.job_id).priority == -3
        list(client.stream(job.job_id))
    assert server.terminate() == 0
    events = [event for line in record.read_text().splitlines()[1:] for event in json.loads(line)["events"]]
    jobs = [event for event in events if event["event"] == "Submitted"]
    assert [(one["priority"], one["earlier_output_tokens"]) for one in jobs] == [(9, 30), (-100, 0), (-3, 30)]
    assert replay(record).first_difference is None


def test_a_priority_out_of_bounds_is_refused_at_every_door(serve: Serve) -> None:
    server = serve(*HTTP)
    refused = call(http_port(server), "/v1/completions", {"prompt": "x", "priority": -101})
    assert refused.status == 400
    assert refused.json["error"]["param"] == "priority"
    assert "-100..100" in refused.json["error"]["message"]
    with server.stub() as stub, pytest.raises(grpc.RpcError) as failed:
        stub.Submit(pb.SubmitRequest(spec=spec("x", 2, priority=101)))
    assert failed.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    said, _ = error_of_call(failed.value)
    assert (said.code, said.field, said.limit) == ("INVALID_INPUT", "priority", "-100..100")


def test_the_priority_is_part_of_what_was_asked(serve: Serve) -> None:
    server = serve()
    with server.stub() as stub:
        first = stub.Submit(pb.SubmitRequest(spec=spec("x", 2, priority=1), request_id="r")).job
        assert stub.Submit(pb.SubmitRequest(spec=spec("x", 2, priority=1), request_id="r")).job.job_id == first.job_id
        with pytest.raises(grpc.RpcError) as failed:
            stub.Submit(pb.SubmitRequest(spec=spec("x", 2), request_id="r"))
        assert failed.value.code() is grpc.StatusCode.ALREADY_EXISTS
