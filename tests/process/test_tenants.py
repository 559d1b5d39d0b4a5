"""One tenant cannot shut the others out: of what is bounded over all calls each keeps a part."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest
from http_client import HTTP, call, figures, http_port
from process_server import Server, spec

from skipjoin.proto import job_pool_pb2 as pb

Serve = Callable[..., Server]


def _metadata(tenant: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {tenant}-key"),)


@pytest.fixture
def tokens(tmp_path: Path) -> Path:
    """Two tenants; a token is TENANT-key."""
    file = tmp_path / "tokens"
    file.write_text("".join(f"{t} {hashlib.sha256(f'{t}-key'.encode()).hexdigest()}\n" for t in ("red", "blue")))
    return file


def test_a_tenant_that_fills_the_queue_leaves_the_others_theirs_over_both_doors(serve: Serve, tokens: Path) -> None:
    server = serve(
        *HTTP, "--tokens", str(tokens), "--max-queued-jobs", "8", "--simulated-scale", "50", "--max-batch", "1"
    )
    port = http_port(server)
    with server.stub() as stub:
        for n in range(6):
            stub.Submit(pb.SubmitRequest(spec=spec(f"red {n}", 1000)), metadata=_metadata("red"))
        with pytest.raises(grpc.RpcError) as refused:
            stub.Submit(pb.SubmitRequest(spec=spec("red 7", 1000)), metadata=_metadata("red"))
        assert refused.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        body = {"prompt": "red 8", "max_tokens": 5}
        over_http = call(port, "/v1/completions", body, authorization="Bearer red-key")
        assert (over_http.status, over_http.json["error"]["code"]) == (429, "overloaded")
        assert int(over_http.headers["retry-after"]) >= 1
        for n in range(2):
            stub.Submit(pb.SubmitRequest(spec=spec(f"blue {n}", 5)), metadata=_metadata("blue"))
        page = dict(figures(port, authorization="Bearer blue-key"))
        assert page['skipjoin_limits_reached_total{limit="max_queued_jobs"}'] == 2
    # What was stored counts for its tenant after a restart too.
    server.kill()
    server.start()
    with server.stub() as stub, pytest.raises(grpc.RpcError) as refused:
        stub.Submit(pb.SubmitRequest(spec=spec("red 9", 5)), metadata=_metadata("red"))
    assert refused.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
