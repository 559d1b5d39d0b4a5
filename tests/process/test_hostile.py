"""One bad job or reader hurts only itself: jobs that kill the engine, readers that do not read, a
client that cannot be waited for.
"""

from __future__ import annotations

from collections.abc import Callable

import grpc
from process_server import Server, spec

from skipjoin.proto import job_pool_pb2 as pb
from skipjoin.proto.job_pool_pb2_grpc import JobPoolServiceStub

Serve = Callable[..., Server]


def test_a_job_that_kills_the_engine_is_failed_alone_and_its_neighbour_ends(serve: Serve) -> None:
    # Its prefill takes a second or two, and each time it is in flight the engine dies: what a
    # crashing job looks like from the door.
    server = serve("--simulated-scale", "8", "--max-batch", "2", "--restart-backoff-s", "0.1")
    with server.stub() as stub:
        neighbour = stub.Generate(pb.GenerateRequest(spec=spec("n", 40)))
        next(neighbour)
        next(neighbour)
        bad = stub.Generate(pb.GenerateRequest(spec=spec("x" * 3000, 5), include_events=True), timeout=120)
        kills, last = 0, None
        for item in bad:
            if item.HasField("event") and item.event.kind == pb.JOB_EVENT_KIND_STARTED:
                server.kill_engine()
                kills += 1
            last = item
        assert last is not None
        assert kills == 3
        finish = last.chunk.finish
        assert (finish.reason, finish.failure.code) == (pb.FINISH_REASON_FAILED, "POISON_JOB")
        tail = list(neighbour)[-1].chunk
        assert (tail.finish.reason, tail.finish.output_tokens) == (pb.FINISH_REASON_LENGTH, 40)
        after = list(stub.Generate(pb.GenerateRequest(spec=spec("after", 2))))
        assert after[-1].chunk.finish.output_tokens == 2


def test_a_reader_that_does_not_read_holds_nobody(serve: Serve) -> None:
    server = serve("--simulated-scale", "0.02")
    narrow = [("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 1024)]
    with grpc.insecure_channel(f"127.0.0.1:{server.port}", options=narrow) as channel, server.stub() as stub:
        slow = [JobPoolServiceStub(channel).Generate(pb.GenerateRequest(spec=spec("slow", 1500))) for _ in range(4)]
        jobs = [next(stream).job.job_id for stream in slow]
        for i in range(5):
            quick = list(stub.Generate(pb.GenerateRequest(spec=spec(f"quick {i}", 20)), timeout=30))
            assert quick[-1].chunk.finish.output_tokens == 20
        for job in jobs:
            fast = list(stub.Stream(pb.StreamRequest(job_id=job), timeout=60))
            assert sum(len(item.chunk.token_ids) for item in fast) == 1500
        # All of them are over now, and the slow readers find everything, once.
        for stream in slow:
            read = 0
            for item in stream:
                assert item.chunk.offset == read
                read += len(item.chunk.token_ids)
            assert read == 1500


def test_many_broken_streams_leave_nothing_behind(serve: Serve) -> None:
    server = serve("--simulated-scale", "0.2")
    with server.stub() as stub:
        keep = stub.Submit(pb.SubmitRequest(spec=spec("keep", 100))).job
        for _ in range(100):
            stream = stub.Stream(pb.StreamRequest(job_id=keep.job_id))
            stream.cancel()
        jobs = []
        for i in range(20):
            stream = stub.Generate(pb.GenerateRequest(spec=spec(f"gone {i}", 400, cancel_on_disconnect=True)))
            jobs.append(next(stream).job.job_id)
            stream.cancel()
        for job in jobs:
            last = list(stub.Stream(pb.StreamRequest(job_id=job), timeout=30))[-1].chunk
            assert last.finish.reason == pb.FINISH_REASON_CANCELLED
        last = list(stub.Stream(pb.StreamRequest(job_id=keep.job_id), timeout=30))[-1].chunk
        assert last.finish.output_tokens == 100
