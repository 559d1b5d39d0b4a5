"""The operator's service over its unix socket."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import grpc
import pytest
from process_server import Server, spec

from skipjoin.proto import admin_pb2 as admin
from skipjoin.proto import job_pool_pb2 as pb
from skipjoin.proto.admin_pb2_grpc import AdminServiceStub

Serve = Callable[..., Server]


@contextmanager
def _operator(server: Server) -> Iterator[AdminServiceStub]:
    with grpc.insecure_channel(f"unix:{server.admin}") as channel:
        yield AdminServiceStub(channel)


def test_status_queues_kv_and_a_live_job(serve: Serve) -> None:
    server = serve("--simulated-scale", "2", "--max-batch", "2")
    with server.stub() as stub, _operator(server) as operator:
        streams = [stub.Generate(pb.GenerateRequest(spec=spec(f"job {i}", 300))) for i in range(4)]
        jobs = [next(stream).job.job_id for stream in streams]
        next(streams[0])
        status = operator.GetStatus(admin.GetStatusRequest()).status
        assert (status.live_jobs, status.engine_ready, status.durable, status.policy) == (4, True, True, "skipjoin")
        assert (status.incarnation, status.engine_restarts) == (1, 0)
        queues = operator.GetQueues(admin.GetQueuesRequest())
        assert sum(level.jobs for level in queues.levels) == 4
        assert sum(level.running for level in queues.levels) <= 2
        kv = operator.GetKv(admin.GetKvRequest())
        assert kv.kv.device_free + kv.kv.device_owned + kv.kv.device_in_flight == kv.kv.device_total == 256
        assert kv.kv.device_owned > 0
        live = operator.GetJob(admin.GetJobRequest(job_id=jobs[0])).live
        account = live.account
        assert account.queued_ns + account.prefill_ns + account.decode_ns + account.preempted_ns + account.moving_ns > 0
        assert live.phase
        ended = operator.CancelJob(admin.CancelJobRequest(job_id=jobs[1], reason="operator")).job
        assert ended.cancel_requested
        assert list(streams[1])[-1].chunk.finish.reason == pb.FINISH_REASON_CANCELLED
        listed = operator.ListJobs(admin.ListJobsRequest(page_size=10)).jobs
        assert {job.job_id for job in listed} == set(jobs)


def test_where_a_jobs_time_went_sums_to_its_completion_time(serve: Serve) -> None:
    server = serve("--max-batch", "1", "--simulated-scale", "0.5")
    with server.stub() as stub, _operator(server) as operator:
        streams = [stub.Generate(pb.GenerateRequest(spec=spec(f"job {i}", 40))) for i in range(3)]
        for stream in streams:
            account = list(stream)[-1].chunk.finish.account
            assert account.queued_ns > 0
            job_id = stub.List(pb.ListRequest(page_size=1)).jobs[0].job_id
        job = operator.GetJob(admin.GetJobRequest(job_id=job_id)).job
        parts = job.account
        total = parts.queued_ns + parts.prefill_ns + parts.decode_ns + parts.preempted_ns + parts.moving_ns
        wall = job.finish_time.ToNanoseconds() - job.submit_time.ToNanoseconds()
        assert 0 < total <= wall


def test_the_policy_is_switched_live_and_kept_over_a_restart(serve: Serve) -> None:
    server = serve("--simulated-scale", "1")
    with server.stub() as stub, _operator(server) as operator:
        stream = stub.Generate(pb.GenerateRequest(spec=spec("switch", 80)))
        next(stream)
        answer = operator.SetPolicy(admin.SetPolicyRequest(policy="fcfs"))
        assert (answer.previous, answer.policy) == ("skipjoin", "fcfs")
        for bad in ("srpt-oracle", "", "fastest"):
            with pytest.raises(grpc.RpcError) as refused:
                operator.SetPolicy(admin.SetPolicyRequest(policy=bad))
            assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
        server.kill_engine()
        assert list(stream)[-1].chunk.finish.output_tokens == 80
        status = operator.GetStatus(admin.GetStatusRequest()).status
        assert (status.policy, status.engine_restarts) == ("fcfs", 1)


def test_drain_by_the_operator(serve: Serve) -> None:
    server = serve()
    with _operator(server) as operator:
        operator.Drain(admin.DrainRequest())
    assert server.wait(15) == 0
