"""The main path over real gRPC, real processes and SQLite, with a simulated executor."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from http_client import HTTP, call, http_port
from process_server import Server, spec

from skipjoin.model.presets import init_model
from skipjoin.proto import job_pool_pb2 as pb

Serve = Callable[..., Server]


def _tokens(responses: object) -> list[int]:
    tokens: list[int] = []
    for response in responses:  # type: ignore[attr-defined]
        if response.HasField("chunk"):
            assert response.chunk.offset == len(tokens)
            tokens += response.chunk.token_ids
    return tokens


def test_generate_stream_get_list(serve: Serve) -> None:
    server = serve()
    with server.stub() as stub:
        first, *rest = list(stub.Generate(pb.GenerateRequest(spec=spec("hello", 20, seed=7))))
        job = first.job
        assert job.state == pb.JOB_STATE_ACCEPTED
        tokens = _tokens(rest)
        assert len(tokens) == 20
        assert rest[-1].chunk.finish.reason == pb.FINISH_REASON_LENGTH
        account = rest[-1].chunk.finish.account
        assert account.prefill_ns > 0
        assert account.decode_ns > 0

        # Any offset gives the rest of the same log, and texts agree with the tokens they come with.
        whole = "".join(r.chunk.text for r in rest)
        for offset in (0, 1, 13, 20):
            again = list(stub.Stream(pb.StreamRequest(job_id=job.job_id, offset=offset)))
            assert [t for r in again for t in r.chunk.token_ids] == tokens[offset:]
            assert whole.endswith("".join(r.chunk.text for r in again))
            assert again[-1].chunk.finish.output_tokens == 20

        got = stub.Get(pb.GetRequest(job_id=job.job_id)).job
        assert (got.state, got.output_tokens, got.prompt_tokens) == (pb.JOB_STATE_SUCCEEDED, 20, 5)
        second = stub.Submit(pb.SubmitRequest(spec=spec("again", 3, seed=7))).job
        assert (
            _tokens(stub.Stream(pb.StreamRequest(job_id=second.job_id))) == tokens[:3]
        )  # the draw depends on seed and position

        page = stub.List(pb.ListRequest(page_size=1))
        assert [job.job_id for job in page.jobs] == [second.job_id]
        page = stub.List(pb.ListRequest(page_size=1, page_token=page.next_page_token))
        assert [found.job_id for found in page.jobs] == [job.job_id]
        assert not stub.List(pb.ListRequest(states=[pb.JOB_STATE_FAILED])).jobs


def test_what_a_request_leaves_out_is_the_models_own(serve: Serve, tmp_path: Path) -> None:
    init_model(tmp_path / "tiny", "tiny")
    config = tmp_path / "tiny" / "generation_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"temperature": 0.5, "top_p": 0.9, "top_k": 40}))
    server = serve("--model", str(tmp_path / "tiny"), *HTTP)
    with server.stub() as stub:
        job = stub.Submit(pb.SubmitRequest(spec=spec("hello", 2))).job.sampling
        assert (job.temperature, job.top_p, job.top_k) == (0.5, 0.9, 40)
        asked = pb.JobSpec(text="hello", sampling=pb.SamplingParams(temperature=0.25, max_new_tokens=2))
        job = stub.Submit(pb.SubmitRequest(spec=asked)).job.sampling
        assert (job.temperature, job.top_p, job.top_k) == (0.25, 0.9, 40)
        body = {"prompt": "hello", "max_tokens": 2, "top_k": 7}
        job_id = call(http_port(server), "/v1/completions", body).headers["x-skipjoin-job-id"]
        job = stub.Get(pb.GetRequest(job_id=job_id)).job.sampling
        assert (job.temperature, job.top_p, job.top_k) == (0.5, 0.9, 7)


def test_events_are_sent_on_request(serve: Serve) -> None:
    server = serve()
    with server.stub() as stub:
        items = list(stub.Generate(pb.GenerateRequest(spec=spec("hello", 4), include_events=True)))
    kinds = [item.event.kind for item in items if item.HasField("event")]
    assert pb.JOB_EVENT_KIND_STARTED in kinds


def test_the_same_request_id_is_one_job_and_another_body_is_refused(serve: Serve) -> None:
    server = serve()
    with server.stub() as stub:
        request = pb.SubmitRequest(spec=spec("once", 4), request_id="r-1")
        first = stub.Submit(request).job
        assert stub.Submit(request).job.job_id == first.job_id
        _tokens(stub.Stream(pb.StreamRequest(job_id=first.job_id)))
        again = stub.Submit(request).job
        assert (again.job_id, again.state) == (first.job_id, pb.JOB_STATE_SUCCEEDED)
        with pytest.raises(grpc.RpcError) as refused:
            stub.Submit(pb.SubmitRequest(spec=spec("twice", 4), request_id="r-1"))
        assert refused.value.code() == grpc.StatusCode.ALREADY_EXISTS
        assert len(stub.List(pb.ListRequest()).jobs) == 1


def test_a_stop_string_ends_the_job_and_is_not_shown(serve: Serve) -> None:
    server = serve()
    with server.stub() as stub:
        plain = list(stub.Generate(pb.GenerateRequest(spec=spec("stop", 40, seed=3))))
        tokens = _tokens(plain[1:])
        at = next(i for i, token in enumerate(tokens) if 32 < token < 127 and i > 3 and token not in tokens[:i])
        sampling = pb.SamplingParams(max_new_tokens=40, seed=3, stop=[chr(tokens[at])])
        stopped = list(stub.Generate(pb.GenerateRequest(spec=pb.JobSpec(text="stop", sampling=sampling))))
        assert _tokens(stopped[1:]) == tokens[: at + 1]
        finish = stopped[-1].chunk.finish
        assert (finish.reason, finish.output_tokens) == (pb.FINISH_REASON_STOP, at + 1)
        assert chr(tokens[at]) not in "".join(item.chunk.text for item in stopped[1:])


def test_cancel_ends_a_running_job_and_frees_its_pages(serve: Serve) -> None:
    # One job's worth of pages: the second can only run when the first has given all of its pages
    # back.
    server = serve("--kv-tokens", "1024", "--host-kv-tokens", "0", "--policy", "fcfs", "--simulated-scale", "1")
    with server.stub() as stub:
        long = stub.Submit(pb.SubmitRequest(spec=spec("x" * 500, 500))).job
        stream = stub.Stream(pb.StreamRequest(job_id=long.job_id))
        next(stream)
        stub.Cancel(pb.CancelRequest(job_id=long.job_id, reason="enough"))
        last = list(stream)[-1].chunk
        assert last.finish.reason == pb.FINISH_REASON_CANCELLED
        assert last.finish.output_tokens < 500
        assert stub.Cancel(pb.CancelRequest(job_id=long.job_id)).job.state == pb.JOB_STATE_CANCELLED
        other = stub.Submit(pb.SubmitRequest(spec=spec("y" * 1000, 4))).job
        assert len(_tokens(stub.Stream(pb.StreamRequest(job_id=other.job_id), timeout=30))) == 4


def test_a_job_whose_time_is_up_expires(serve: Serve) -> None:
    server = serve("--simulated-scale", "20")
    with server.stub() as stub:
        request = pb.GenerateRequest(spec=spec("late", 1000, timeout=Duration(seconds=1)))
        last = list(stub.Generate(request))[-1].chunk
        assert last.finish.reason == pb.FINISH_REASON_EXPIRED
        assert 0 < last.finish.output_tokens < 1000


@pytest.mark.parametrize("wanted", [True, False])
def test_a_broken_stream_cancels_only_if_asked(serve: Serve, wanted: bool) -> None:
    server = serve("--simulated-scale", "1")
    with server.stub() as stub:
        stream = stub.Generate(pb.GenerateRequest(spec=spec("bye", 60, cancel_on_disconnect=wanted)))
        job = next(stream).job
        next(stream)
        stream.cancel()
        last = list(stub.Stream(pb.StreamRequest(job_id=job.job_id)))[-1].chunk
        expected = pb.FINISH_REASON_CANCELLED if wanted else pb.FINISH_REASON_LENGTH
        assert last.finish.reason == expected


def test_a_full_queue_answers_at_once_with_a_hint(serve: Serve) -> None:
    from google.rpc.error_details_pb2 import RetryInfo
    from google.rpc.status_pb2 import Status

    server = serve("--max-queued-jobs", "3", "--simulated-scale", "50")
    with server.stub() as stub:
        jobs = [stub.Submit(pb.SubmitRequest(spec=spec("q", 500), request_id=f"r{n}")).job for n in range(3)]
        # Whoever repeats a submit whose answer was lost gets it, queue or no queue.
        again = stub.Submit(pb.SubmitRequest(spec=spec("q", 500), request_id="r1")).job
        assert again.job_id == jobs[1].job_id
        with pytest.raises(grpc.RpcError) as other_body:
            stub.Submit(pb.SubmitRequest(spec=spec("p", 500), request_id="r1"))
        assert other_body.value.code() == grpc.StatusCode.ALREADY_EXISTS
        with pytest.raises(grpc.RpcError) as refused:
            stub.Submit(pb.SubmitRequest(spec=spec("q", 500)))
        assert refused.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        details = dict(refused.value.trailing_metadata())["grpc-status-details-bin"]
        retry = RetryInfo()
        assert any(
            detail.Unpack(retry) for detail in Status.FromString(details).details if detail.Is(RetryInfo.DESCRIPTOR)
        )
        assert retry.retry_delay.ToNanoseconds() > 0
        stub.Cancel(pb.CancelRequest(job_id=jobs[0].job_id))
        list(stub.Stream(pb.StreamRequest(job_id=jobs[0].job_id)))
        stub.Submit(pb.SubmitRequest(spec=spec("q", 500)))


def test_many_jobs_at_once_all_end_and_agree_with_the_log(serve: Serve) -> None:
    server = serve("--kv-tokens", "1024", "--max-batch", "4", "--simulated-scale", "0")
    with server.stub() as stub:
        lengths = [1 + (i * 7) % 60 for i in range(60)]
        jobs = [stub.Submit(pb.SubmitRequest(spec=spec("p" * (1 + i), n))).job for i, n in enumerate(lengths)]
        for job, length in zip(jobs, lengths, strict=True):
            assert len(_tokens(stub.Stream(pb.StreamRequest(job_id=job.job_id), timeout=60))) == length
        assert {j.state for j in stub.List(pb.ListRequest(page_size=100)).jobs} == {pb.JOB_STATE_SUCCEEDED}
