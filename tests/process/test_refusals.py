"""What a server answers to what it must not take: malformed bytes, foreign tenants, bad settings,
taken ports.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import socket
import ssl
import stat
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import grpc
import pytest
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo
from google.rpc.status_pb2 import Status
from http_client import HTTP, http_port
from process_server import COMMAND, Server, spec

from skipjoin.proto import job_pool_pb2 as pb
from skipjoin.proto.job_pool_pb2_grpc import JobPoolServiceStub

Serve = Callable[..., Server]


def _whole(answer: object) -> None:
    """Read a stream to its end; a single answer is whole already."""
    if isinstance(answer, grpc.Call):
        list(answer)  # type: ignore[call-overload]


def _refusal(call: Callable[[], object]) -> tuple[grpc.StatusCode, str, str | None]:
    """(code, reason, field) of a call that must fail; streams are read."""
    with pytest.raises(grpc.RpcError) as refused:
        _whole(call())
    details = dict(refused.value.trailing_metadata() or ()).get("grpc-status-details-bin")
    assert details is not None, f"no details with {refused.value}"
    info, bad = ErrorInfo(), BadRequest()
    for detail in Status.FromString(details).details:
        if detail.Is(ErrorInfo.DESCRIPTOR):
            detail.Unpack(info)
        elif detail.Is(BadRequest.DESCRIPTOR):
            detail.Unpack(bad)
    field = bad.field_violations[0].field if bad.field_violations else None
    return refused.value.code(), info.reason, field


BAD_SPECS = [
    (pb.JobSpec(), "INVALID_INPUT", "prompt"),
    (pb.JobSpec(text=""), "INVALID_INPUT", "text"),
    (pb.JobSpec(token_ids=pb.TokenIds()), "INVALID_INPUT", "token_ids"),
    (pb.JobSpec(token_ids=pb.TokenIds(ids=[0, 257])), "INVALID_INPUT", "token_ids"),
    (pb.JobSpec(token_ids=pb.TokenIds(ids=[-1])), "INVALID_INPUT", "token_ids"),
    (pb.JobSpec(token_ids=pb.TokenIds(ids=[1] * 5000)), "NEVER_FITS", "token_ids"),
    (pb.JobSpec(text="x" * 5000), "NEVER_FITS", "text"),
    (pb.JobSpec(messages=pb.Chat()), "INVALID_INPUT", "messages"),
    (
        pb.JobSpec(messages=pb.Chat(messages=[pb.ChatMessage(role="god", content="x")])),
        "INVALID_INPUT",
        "messages[0].role",
    ),
]
BAD_SAMPLING = [
    ({"max_new_tokens": 0}, "max_new_tokens"),
    ({"max_new_tokens": -1}, "max_new_tokens"),
    ({"max_new_tokens": 2**31 - 1}, "max_new_tokens"),
    ({"max_new_tokens": 4096}, "max_new_tokens"),
    ({"temperature": float("nan")}, "temperature"),
    ({"temperature": float("inf")}, "temperature"),
    ({"temperature": -0.5}, "temperature"),
    ({"top_p": 0.0}, "top_p"),
    ({"top_p": 1.5}, "top_p"),
    ({"top_k": -1}, "top_k"),
    ({"min_p": 2.0}, "min_p"),
    ({"seed": -1}, "seed"),
    ({"logprobs": 10**6}, "logprobs"),
    ({"stop": [""]}, "stop"),
    ({"stop": ["x" * 300]}, "stop"),
    ({"stop": ["a"] * 10_000}, "stop"),
    ({"stop": ["a"] * 100_000}, "request"),  # a long message with so many fields is not parsed
    ({"stop_token_ids": [257]}, "stop_token_ids"),
    ({"stop_token_ids": [-1]}, "stop_token_ids"),
    ({"repetition_penalty": 0.0}, "repetition_penalty"),
]


def test_bad_requests_are_refused_by_field_and_hurt_nobody(serve: Serve) -> None:
    server = serve()
    with server.stub() as stub:
        engine = server.engine_pid()
        for bad, reason, field in BAD_SPECS:
            code, said, where = _refusal(lambda bad=bad: stub.Submit(pb.SubmitRequest(spec=bad)))
            assert (code, said, where) == (grpc.StatusCode.INVALID_ARGUMENT, reason, field)
        for values, field in BAD_SAMPLING:
            asked = pb.JobSpec(text="a", sampling=pb.SamplingParams(**values))
            code, _, where = _refusal(lambda asked=asked: stub.Generate(pb.GenerateRequest(spec=asked)))
            assert code == grpc.StatusCode.INVALID_ARGUMENT, values
            assert where is not None
            assert where.endswith(field)
        for request_id in ("", "x" * 65, "a b", "line\nbreak"):
            request = pb.SubmitRequest(spec=spec(), request_id=request_id)
            assert _refusal(lambda request=request: stub.Submit(request))[2] == "request_id"
        assert _refusal(lambda: stub.Submit(pb.SubmitRequest()))[2] == "spec"
        assert not stub.List(pb.ListRequest()).jobs
        assert server.engine_pid() == engine
        assert len(list(stub.Generate(pb.GenerateRequest(spec=spec(tokens=2))))) >= 2


def test_unknown_jobs_and_wrong_offsets(serve: Serve) -> None:
    server = serve()
    with server.stub() as stub:
        nobody = "0" * 32
        for call in (
            lambda: stub.Get(pb.GetRequest(job_id=nobody)),
            lambda: stub.Cancel(pb.CancelRequest(job_id=nobody)),
            lambda: stub.Stream(pb.StreamRequest(job_id=nobody)),
        ):
            assert _refusal(call)[:2] == (grpc.StatusCode.NOT_FOUND, "NOT_FOUND")
        for name in ("", "../etc", "x" * 10_000, "' OR 1=1 --"):
            assert _refusal(lambda name=name: stub.Get(pb.GetRequest(job_id=name)))[2] == "job_id"
        items = list(stub.Generate(pb.GenerateRequest(spec=spec(tokens=4))))
        job_id = items[0].job.job_id
        for offset in (-1, 5, 2**62):
            code, said, _ = _refusal(lambda offset=offset: stub.Stream(pb.StreamRequest(job_id=job_id, offset=offset)))
            assert (code, said) == (grpc.StatusCode.OUT_OF_RANGE, "OFFSET_OUT_OF_RANGE")
        assert _refusal(lambda: stub.List(pb.ListRequest(page_size=-1)))[2] == "page_size"
        assert _refusal(lambda: stub.List(pb.ListRequest(page_token="forged")))[2] == "page_token"
        assert _refusal(lambda: stub.List(pb.ListRequest(states=[99])))[2] == "states"  # type: ignore[list-item]
        assert _refusal(lambda: stub.Cancel(pb.CancelRequest(job_id=job_id, reason="x" * 201)))[2] == "reason"


@pytest.mark.parametrize(
    "data", [b"\xff\xff\xff", b"\x0a\x05\x0a\xff\xfe", b"\x0a\x04\x0a\x02\xc3\x28", b"\x08" * 1000]
)
def test_bytes_that_are_no_message(serve: Serve, data: bytes) -> None:
    server = serve()
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        for method, streaming in (("Submit", False), ("Generate", True)):
            make = channel.unary_stream if streaming else channel.unary_unary
            call = make(f"/skipjoin.v1.JobPoolService/{method}")
            code, reason, _ = _refusal(lambda call=call: call(data))
            assert (code, reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_INPUT")


def test_a_message_over_the_limit_is_refused_by_the_transport(serve: Serve) -> None:
    server = serve("--max-message-bytes", "65536")
    with server.stub() as stub, pytest.raises(grpc.RpcError) as refused:
        stub.Submit(pb.SubmitRequest(spec=spec("x" * 70_000)))
    assert refused.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED


def test_a_call_without_a_deadline_ends_by_the_servers_cap(serve: Serve) -> None:
    server = serve("--call-cap-s", "0.5", "--simulated-scale", "50")
    with server.stub() as stub:
        job = stub.Submit(pb.SubmitRequest(spec=spec(tokens=500))).job
        code, reason, _ = _refusal(lambda: stub.Stream(pb.StreamRequest(job_id=job.job_id)))
        assert (code, reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED")


def test_tenants_do_not_see_each_other(serve: Serve, tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text("".join(f"{t} {hashlib.sha256(f'{t}-key'.encode()).hexdigest()}\n" for t in ("red", "blue")))
    server = serve("--tokens", str(tokens))
    red, blue = ((("authorization", f"Bearer {t}-key"),) for t in ("red", "blue"))
    with server.stub() as stub:
        for metadata in ((), (("authorization", "Bearer red"),), (("authorization", "red-key"),)):
            request = pb.SubmitRequest(spec=spec())
            code = _refusal(lambda request=request, metadata=metadata: stub.Submit(request, metadata=metadata))[0]
            assert code == grpc.StatusCode.UNAUTHENTICATED
        mine = stub.Submit(pb.SubmitRequest(spec=spec(), request_id="same"), metadata=red).job
        theirs = stub.Submit(pb.SubmitRequest(spec=spec("other"), request_id="same"), metadata=blue).job
        assert (mine.tenant, theirs.tenant) == ("red", "blue")
        assert mine.job_id != theirs.job_id
        for call in (
            lambda: stub.Get(pb.GetRequest(job_id=mine.job_id), metadata=blue),
            lambda: stub.Cancel(pb.CancelRequest(job_id=mine.job_id), metadata=blue),
            lambda: stub.Stream(pb.StreamRequest(job_id=mine.job_id), metadata=blue),
        ):
            assert _refusal(call)[0] == grpc.StatusCode.NOT_FOUND
        assert [job.job_id for job in stub.List(pb.ListRequest(), metadata=blue).jobs] == [theirs.job_id]


def test_the_admin_socket_is_the_owners_only(serve: Serve) -> None:
    server = serve()
    mode = os.stat(server.admin).st_mode
    assert stat.S_ISSOCK(mode)
    assert stat.S_IMODE(mode) == 0o600


def _serve_and_fail(*flags: str) -> tuple[int, str]:
    done = subprocess.run([*COMMAND, *flags], capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stderr


def test_a_taken_port_is_said(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, said = _serve_and_fail(
            "--executor", "simulated", "--job-pool", "memory", "--listen", f"127.0.0.1:{port}", "--http-listen", "",
            "--admin-socket", str(tmp_path / "a.sock"),
        )  # fmt: skip
    assert code == 2
    assert f"{port}" in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("flags", "word"),
    [
        ((), "model"),
        (("--executor", "simulated", "--max-batch", "none"), "max_batch"),
        (("--executor", "simulated", "--profile", "/nowhere.json"), "profile"),
        (("--executor", "simulated", "--profile", "roofline"), "profile"),
        (("--executor", "simulated", "--tokens", "/nowhere"), "tokens"),
        (("--model", "/nowhere"), "model"),
        (("--executor", "simulated", "--listen", "0.0.0.0:0"), "insecure"),
    ],
)
def test_bad_settings_end_with_a_sentence(tmp_path: Path, flags: tuple[str, ...], word: str) -> None:
    extra = ("--job-pool", "memory", "--http-listen", "", "--admin-socket", str(tmp_path / "a.sock"))
    listen = () if "--listen" in flags else ("--listen", "127.0.0.1:0")
    code, said = _serve_and_fail(*flags, *extra, *listen)
    assert code == 2, said
    assert word in said
    assert [line for line in said.splitlines() if " INFO " not in line] == [said.splitlines()[-1]]


def test_check_loads_says_and_ends(tmp_path: Path) -> None:
    done = subprocess.run(
        [*COMMAND, "--check", "--executor", "simulated", "--job-pool", "memory",
         "--listen", "127.0.0.1:0", "--http-listen", ""],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert "pages" in done.stdout
    assert "NOT durable" in done.stdout
    assert len(done.stdout.splitlines()) == 1


def _openssl(folder: Path, words: str) -> None:
    made = subprocess.run(["openssl", *words.split()], cwd=folder, capture_output=True, check=False)
    assert made.returncode == 0, made.stderr


CERT = (
    "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -keyout {0}.key -out {0}.pem -days 2 -subj "
    "/CN=localhost "
    "-addext subjectAltName=DNS:localhost,IP:127.0.0.1"
)


def test_tls_holds_for_both_doors_and_a_pair_that_does_not_fit_is_said(serve: Serve, tmp_path: Path) -> None:
    _openssl(tmp_path, CERT.format("a") + " -nodes")
    _openssl(tmp_path, CERT.format("b") + " -passout pass:secret")
    cert, key = tmp_path / "a.pem", tmp_path / "a.key"
    common = ("--executor", "simulated", "--job-pool", "memory", "--listen", "127.0.0.1:0", "--http-listen", "")
    for wrong_cert, wrong_key in ((tmp_path / "b.pem", key), (tmp_path / "b.pem", tmp_path / "b.key")):
        code, said = _serve_and_fail(*common, "--tls-cert", str(wrong_cert), "--tls-key", str(wrong_key))
        assert code == 2
        assert "do not fit together" in said

    server = serve("--tls-cert", str(cert), "--tls-key", str(key), *HTTP)
    roots = grpc.ssl_channel_credentials(cert.read_bytes())
    with grpc.secure_channel(f"localhost:{server.port}", roots) as channel:
        items = list(JobPoolServiceStub(channel).Generate(pb.GenerateRequest(spec=spec(tokens=2)), timeout=20))
        assert items[-1].chunk.finish.output_tokens == 2
    context = ssl.create_default_context(cafile=str(cert))
    with closing(http.client.HTTPSConnection("localhost", http_port(server), timeout=20, context=context)) as secure:
        secure.request("GET", "/health")
        assert secure.getresponse().status == 200
    with closing(http.client.HTTPConnection("localhost", http_port(server), timeout=20)) as plain:
        plain.request("GET", "/health")
        answer = plain.getresponse()
        assert (answer.status, "https://" in json.loads(answer.read())["error"]["message"]) == (400, True)
    with server.stub() as stub, pytest.raises(grpc.RpcError) as refused:
        stub.Get(pb.GetRequest(job_id="0" * 32), timeout=20)
    assert refused.value.code() == grpc.StatusCode.UNAVAILABLE
