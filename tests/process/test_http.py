"""The HTTP door of a real server, over real sockets."""

from __future__ import annotations

import hashlib
import json
import re
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from http_client import HTTP, call, figures, http_port, post, raw
from process_server import Server

from skipjoin.proto import job_pool_pb2 as pb
from skipjoin.serving.http.openai import answer_schema as schemas

Serve = Callable[..., Server]
HELLO = {"model": "simulated", "prompt": "hello", "max_tokens": 12, "ignore_eos": True, "seed": 4}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for the tests that leave it as it was."""
    made = Server(tmp_path_factory.mktemp("http"), *HTTP, "--max-message-bytes", "100000").start()
    yield made
    made.stop()


@pytest.fixture
def port(server: Server) -> int:
    return http_port(server)


def _job(server: Server, job_id: str) -> pb.Job:
    with server.stub() as stub:
        return stub.Get(pb.GetRequest(job_id=job_id)).job


def _until(what: Callable[[], bool], patience_s: float = 15.0) -> None:
    end = time.monotonic() + patience_s
    while not what():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


def test_a_completion_whole_and_streamed_are_one_text(server: Server, port: int) -> None:
    whole = call(port, "/v1/completions", HELLO)
    assert whole.status == 200
    assert whole.headers["content-type"].startswith("application/json")
    choice = whole.json["choices"][0]
    assert choice["finish_reason"] == "length"
    assert whole.json["usage"] == {"prompt_tokens": 5, "completion_tokens": 12, "total_tokens": 17}
    job = _job(server, whole.headers["x-skipjoin-job-id"])
    assert whole.json["id"] == f"cmpl-{job.job_id}"
    assert (job.state, job.output_tokens) == (pb.JOB_STATE_SUCCEEDED, 12)

    streamed = call(port, "/v1/completions", HELLO | {"stream": True, "stream_options": {"include_usage": True}})
    assert streamed.headers["content-type"].startswith("text/event-stream")
    *chunks, last, usage, done = streamed.events
    assert done == "[DONE]"
    assert (usage["choices"], usage["usage"]) == ([], whole.json["usage"])
    assert "".join(chunk["choices"][0]["text"] for chunk in [*chunks, last]) == choice["text"]
    assert [chunk["choices"][0]["finish_reason"] for chunk in [*chunks, last]] == [None] * len(chunks) + ["length"]
    assert len({chunk["id"] for chunk in [*chunks, last, usage]}) == 1


def test_without_the_wish_no_usage_comes(port: int) -> None:
    events = call(port, "/v1/completions", HELLO | {"stream": True}).events
    assert events[-1] == "[DONE]"
    assert all("usage" not in event and event["choices"] for event in events[:-1])


def test_a_conversation(port: int) -> None:
    body = {"messages": [{"role": "user", "content": "hi"}], "max_completion_tokens": 6, "ignore_eos": True, "seed": 9}
    whole = call(port, "/v1/chat/completions", body).json
    assert whole["object"] == "chat.completion"
    assert whole["choices"][0]["message"]["role"] == "assistant"
    events = call(port, "/v1/chat/completions", body | {"stream": True}).events
    deltas = [event["choices"][0]["delta"] for event in events[:-1]]
    assert [delta.get("role") for delta in deltas] == ["assistant"] + [None] * (len(deltas) - 1)
    assert "".join(delta["content"] for delta in deltas) == whole["choices"][0]["message"]["content"]
    assert {event["object"] for event in events[:-1]} == {"chat.completion.chunk"}


def test_token_ids_are_a_prompt(port: int) -> None:
    as_text = call(port, "/v1/completions", HELLO).json
    as_ids = call(port, "/v1/completions", HELLO | {"prompt": list(b"hello")}).json
    assert as_ids["choices"] == as_text["choices"]


def test_models_and_health(port: int) -> None:
    card = call(port, "/v1/models").json["data"][0]
    assert (card["id"], card["owned_by"], card["max_model_len"]) == ("simulated", "skipjoin", 4096)
    assert call(port, "/v1/models/simulated").json == card
    assert call(port, "/v1/models/other").status == 404
    health = call(port, "/health")
    assert (health.status, health.json) == (200, {"status": "serving"})


@pytest.mark.parametrize(
    ("path", "body", "status", "code", "param"),
    [
        ("/v1/completions", {"prompt": "x", "max_tokens": 10**6}, 400, "context_length_exceeded", "max_tokens"),
        ("/v1/completions", {"prompt": "x", "temperature": 1e9}, 400, "invalid_input", "temperature"),
        ("/v1/completions", {"prompt": ""}, 400, "invalid_input", "prompt"),
        ("/v1/completions", {"prompt": []}, 400, "invalid_input", "prompt"),
        ("/v1/completions", {"prompt": [300]}, 400, "invalid_input", "prompt"),
        ("/v1/completions", {"prompt": [1] * 4096}, 400, "context_length_exceeded", "prompt"),
        ("/v1/completions", {"prompt": "\ud800"}, 400, "invalid_input", "prompt"),
        ("/v1/completions", {"prompt": "x", "stop": "\ud800"}, 400, "invalid_input", "stop"),
        ("/v1/completions", {"prompt": "x", "\ud800": 1}, 400, "invalid_input", "?"),
        ("/v1/completions", b'{"prompt": "x", "top_p": 1%s}' % (b"0" * 400), 400, "invalid_input", "top_p"),
        ("/v1/completions", {"prompt": "x", "model": "gpt-4"}, 404, "not_found", "model"),
        ("/v1/completions", b"not json", 400, "invalid_input", "body"),
        ("/v1/completions", b"[" * 90_000, 400, "invalid_input", "body"),
        ("/v1/completions", b'{"prompt": "' + b"x" * 100_000 + b'"}', 413, "invalid_input", "body"),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "x"}], "max_completion_tokens": 90_000}, 400,
         "context_length_exceeded",
         "max_completion_tokens"),
        ("/v1/chat/completions", {"messages": [{"role": "root", "content": "x"}]}, 400, "invalid_input",
         "messages[0].role"),
        ("/v1/nothing", {}, 404, "not_found", "path"),
    ],
)  # fmt: skip
def test_refusals_have_openais_shape(port: int, path: str, body: object, status: int, code: str, param: str) -> None:
    answer = call(port, path, body)
    error = answer.json["error"]
    assert (answer.status, error["code"], error["param"]) == (status, code, param)
    assert error["type"] in ("invalid_request_error", "not_found_error")
    assert error["message"] and len(error["message"]) < 400
    for inside in ("Traceback", "skipjoin.", "aiohttp", "/work", "sqlite"):
        assert inside not in error["message"]
    assert answer.headers["server"] == "skipjoin"


def test_the_document_of_the_calls_is_there_for_all_and_true_of_them(serve: Serve, tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text(f"me {hashlib.sha256(b'secret').hexdigest()}\n")
    server = serve(*HTTP, "--tokens", str(tokens), "--simulated-scale", "0")
    port = http_port(server)
    doc = call(port, "/openapi.json")
    assert (doc.status, doc.headers["content-type"]) == (200, "application/json; charset=utf-8")
    assert call(port, "/openapi.json", method="HEAD").status == 200
    assert call(port, "/openapi.json", b"{}").status == 405
    for path, item in doc.json["paths"].items():
        for method, operation in item.items():
            open_to_all = operation.get("security") == []
            body = {} if method == "post" else None
            for headers in ({}, {"Authorization": "Bearer secret"}):
                answer = call(port, path.replace("{name}", "simulated"), body, method=method.upper(), **headers)
                assert (answer.status == 401) == (not open_to_all and not headers), (path, headers)
                assert str(answer.status) in operation["responses"], (path, answer)


def test_answers_are_as_the_document_says(port: int) -> None:
    completion = HELLO | {"max_tokens": 3, "logprobs": 2}
    chat = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 3, "logprobs": True, "top_logprobs": 2}
    usage = {"stream": True, "stream_options": {"include_usage": True}}
    for path, body, whole, chunk in (
        ("/v1/completions", completion, schemas.Completion, schemas.Completion),
        ("/v1/chat/completions", chat, schemas.ChatCompletion, schemas.ChatCompletionChunk),
    ):
        whole.model_validate(call(port, path, body).json)
        for event in call(port, path, body | usage).events[:-1]:
            chunk.model_validate(event)
        schemas.Error.model_validate(call(port, path, body | {"n": 2}).json)
        schemas.Error.model_validate(call(port, path, body | {"max_tokens": 9999}).json)
    schemas.ModelList.model_validate(call(port, "/v1/models").json)
    schemas.Model.model_validate(call(port, "/v1/models/simulated").json)
    schemas.Health.model_validate(call(port, "/health").json)


def test_the_log_has_a_line_for_every_request_where_it_is_asked_for(serve: Serve) -> None:
    server = serve(*HTTP, "--log-level", "debug", "--simulated-scale", "0")
    port = http_port(server)
    job = call(port, "/v1/completions", HELLO, X_Request_Id="mine-7").headers["x-skipjoin-job-id"]
    call(port, "/v1/no%0athing?secret=1", X_Request_Id="two words")
    _until(lambda: len(_access(server)) == 2)
    first, second = _access(server)
    assert "POST '/v1/completions' 200 in " in first
    assert first.endswith(f"request mine-7, tenant default, job {job}")
    assert "GET '/v1/no\\nthing' 404 in " in second and "secret" not in second
    assert re.search(r"request [0-9a-f]{16}, tenant -, job -$", second)


def _access(server: Server) -> list[str]:
    return [line for line in server.log.read_text().splitlines() if " skipjoin.access " in line and "/v1/" in line]


def test_the_log_is_silent_about_requests_else(server: Server, port: int) -> None:
    call(port, "/v1/nothing")
    assert "skipjoin.access" not in server.log.read_text()


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd", "identity, gzip", "GZIP", "compress", "x"])
def test_a_compressed_body_is_refused_unread(port: int, coding: str) -> None:
    answer = call(port, "/v1/completions", b'{"prompt": "x"}', content_encoding=coding)
    assert (answer.status, answer.json["error"]["param"]) == (415, "Content-Encoding")
    assert answer.headers["accept-encoding"] == "identity"


def test_a_body_that_says_it_is_not_compressed_is_taken(port: int) -> None:
    assert call(port, "/v1/completions", HELLO, content_encoding="identity").status == 200


def test_a_page_in_a_browser_cannot_post(port: int) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
        answer = call(port, "/v1/completions", b'{"prompt": "x"}', content_type=kind)
        assert (answer.status, answer.json["error"]["param"]) == (400, "Content-Type")


def test_wrong_methods(port: int) -> None:
    assert call(port, "/v1/completions").status == 405
    assert call(port, "/health", b"", method="DELETE").status == 405


def test_a_repeated_key_is_the_same_job(port: int) -> None:
    first = call(port, "/v1/completions", HELLO, Idempotency_Key="key-1")
    again = call(port, "/v1/completions", HELLO | {"stream": True}, Idempotency_Key="key-1")
    assert again.headers["x-skipjoin-job-id"] == first.headers["x-skipjoin-job-id"]
    text = "".join(event["choices"][0]["text"] for event in again.events[:-1])
    assert text == first.json["choices"][0]["text"]
    other = call(port, "/v1/completions", HELLO | {"prompt": "bye"}, Idempotency_Key="key-1")
    assert (other.status, other.json["error"]["code"]) == (409, "conflict")
    assert call(port, "/v1/completions", HELLO, Idempotency_Key="two words").status == 400


def test_logprobs(port: int) -> None:
    body = HELLO | {"logprobs": 2, "max_tokens": 3}
    whole = call(port, "/v1/completions", body).json["choices"][0]["logprobs"]
    assert len(whole["tokens"]) == len(whole["token_logprobs"]) == len(whole["top_logprobs"]) == 3
    events = call(port, "/v1/completions", body | {"stream": True}).events[:-1]
    offsets = [at for event in events for at in (event["choices"][0]["logprobs"] or {"text_offset": []})["text_offset"]]
    assert offsets == whole["text_offset"]


def test_metrics_count_what_was_done(port: int) -> None:
    before = dict(figures(port))
    call(port, "/v1/completions", HELLO)
    call(port, "/v1/completions", {"prompt": ""})
    time.sleep(1.05)  # a page is a second old at most
    after = dict(figures(port))
    grown = {name: after[name] - before[name] for name in before if after[name] != before[name]}
    assert grown["skipjoin_output_tokens_total"] == 12
    assert grown["skipjoin_prefill_tokens_total"] == 5
    assert grown['skipjoin_jobs_finished_total{reason="length"}'] == 1
    assert grown['skipjoin_requests_rejected_total{reason="invalid_input"}'] == 1
    assert grown["skipjoin_job_completion_seconds_count"] == 1
    assert grown["skipjoin_log_commits_total"] >= 2
    assert grown["skipjoin_iteration_seconds_count"] >= 12
    assert after['skipjoin_kv_blocks{pool="device",state="free"}'] == 256
    assert after["skipjoin_engine_ready"] == 1
    assert after["skipjoin_worst_wait_seconds"] > 0
    assert after["skipjoin_worst_slowdown_ratio"] > 0
    assert after['skipjoin_promotions_total{cause="starvation"}'] == 0
    text = call(port, "/metrics").body.decode()
    assert "hello" not in text and "default" not in text


def test_a_client_that_goes_ends_its_job(serve: Serve) -> None:
    server = serve(*HTTP, "--simulated-scale", "20")
    port = http_port(server)
    for stream in (True, False):
        body = {"prompt": "hello", "max_tokens": 2000, "ignore_eos": True, "stream": stream}
        with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
            connection.sendall(post("/v1/completions", body))
            if stream:
                assert b"data: " in connection.recv(65536) + connection.recv(65536)
            else:
                _until(lambda: _running(server) == 1)
        _until(lambda: _running(server) == 0)
    with server.stub() as stub:
        jobs = stub.List(pb.ListRequest()).jobs
    assert [job.state for job in jobs] == [pb.JOB_STATE_CANCELLED] * 2
    assert all(job.output_tokens < 2000 for job in jobs)


def _running(server: Server) -> int:
    with server.stub() as stub:
        listed = stub.List(pb.ListRequest(states=[pb.JOB_STATE_ACCEPTED, pb.JOB_STATE_CLAIMED]))
    return len(listed.jobs)


def test_a_client_that_will_come_back_keeps_its_job(serve: Serve) -> None:
    server = serve(*HTTP, "--simulated-scale", "2")
    port = http_port(server)
    data = post("/v1/completions", HELLO | {"max_tokens": 60, "stream": True})
    raw(port, data.replace(b"Host: localhost\r\n", b"Host: localhost\r\nIdempotency-Key: later\r\n"), close_after=300)
    answer = call(port, "/v1/completions", HELLO | {"max_tokens": 60, "stream": True}, Idempotency_Key="later")
    assert answer.status == 200
    assert answer.events[-2]["choices"][0]["finish_reason"] == "length"
    assert _job(server, answer.headers["x-skipjoin-job-id"]).output_tokens == 60


def test_a_full_queue_says_when_to_come_back(serve: Serve) -> None:
    server = serve(*HTTP, "--max-queued-jobs", "2", "--simulated-scale", "20")
    port = http_port(server)
    body = {"prompt": "x", "max_tokens": 400, "ignore_eos": True}
    with ThreadPoolExecutor(2) as threads:
        held = [
            threads.submit(raw, port, post("/v1/completions", body | {"stream": True}), close_after=2000)
            for _ in range(2)
        ]
        _until(lambda: _running(server) == 2)
        refused = call(port, "/v1/completions", body)
        assert (refused.status, refused.json["error"]["type"]) == (429, "rate_limit_error")
        assert int(refused.headers["retry-after"]) >= 1
        assert all(future.result() for future in held)


def test_too_many_open_calls_are_refused(serve: Serve) -> None:
    server = serve(*HTTP, "--max-streams", "1", "--simulated-scale", "20")
    port = http_port(server)
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(post("/v1/completions", {"prompt": "x", "max_tokens": 400, "stream": True}))
        assert connection.recv(100)
        refused = call(port, "/v1/completions", HELLO)
        assert (refused.status, refused.json["error"]["code"]) == (429, "overloaded")
        assert call(port, "/health").status == 200


def test_the_cap_ends_a_call_and_only_a_job_that_can_be_found_again_goes_on(serve: Serve) -> None:
    server = serve(*HTTP, "--call-cap-s", "0.6", "--simulated-scale", "20")
    port = http_port(server)
    body = {"prompt": "x", "max_tokens": 2000, "ignore_eos": True}
    streamed = call(port, "/v1/completions", body | {"stream": True})
    assert streamed.events[-1]["error"]["code"] == "deadline_exceeded"
    whole = call(port, "/v1/completions", body)
    assert (whole.status, whole.json["error"]["code"]) == (504, "deadline_exceeded")
    assert "Idempotency-Key" in whole.json["error"]["message"]
    _until(lambda: _running(server) == 0)
    assert _job(server, streamed.headers["x-skipjoin-job-id"]).state == pb.JOB_STATE_CANCELLED
    named = call(port, "/v1/completions", body | {"stream": True}, Idempotency_Key="later")
    assert named.events[-1]["error"]["code"] == "deadline_exceeded"
    again = call(port, "/v1/completions", body | {"stream": True}, Idempotency_Key="later")
    assert again.headers["x-skipjoin-job-id"] == named.headers["x-skipjoin-job-id"]
    assert len(again.events) > len(named.events)  # it went on meanwhile
    assert _running(server) == 1


def test_a_drain_ends_streams_and_refuses_newcomers(serve: Serve) -> None:
    server = serve(*HTTP, "--drain-s", "3", "--simulated-scale", "20")  # time enough for the calls below
    port = http_port(server)
    with ThreadPoolExecutor(1) as threads:
        body = {"prompt": "x", "max_tokens": 2000, "ignore_eos": True, "stream": True}
        streamed = threads.submit(call, port, "/v1/completions", body)
        _until(lambda: _running(server) == 1)
        server.signal(15)
        _until(lambda: call(port, "/health").status == 503)
        refused = call(port, "/v1/completions", HELLO)
        assert (refused.status, refused.json["error"]["code"]) == (503, "unavailable")
        assert refused.headers["retry-after"]
        last = streamed.result().events[-1]
    assert last["error"]["code"] == "unavailable"
    assert server.wait(20) == 0


def test_the_end_of_a_drain_says_what_http_clients_can_do_and_computes_for_nobody(serve: Serve) -> None:
    server = serve(*HTTP, "--drain-s", "0.5", "--simulated-scale", "20", "--max-batch", "2")
    port = http_port(server)
    body = {"prompt": "x", "max_tokens": 2000, "ignore_eos": True}
    with ThreadPoolExecutor(4) as threads:
        nameless = [
            threads.submit(call, port, "/v1/completions", body | {"stream": stream}) for stream in (True, False)
        ]
        _until(lambda: _running(server) == 2)
        queued = threads.submit(call, port, "/v1/completions", body | {"prompt": "queued"})
        named = threads.submit(call, port, "/v1/completions", body | {"stream": True}, Idempotency_Key="later")
        _until(lambda: _running(server) == 4)
        server.signal(15)
        streamed, whole, waited, kept = (future.result() for future in (*nameless, queued, named))
    for error in (streamed.events[-1]["error"], whole.json["error"], waited.json["error"]):
        assert error["code"] == "unavailable"
        assert "cancelled" in error["message"] and "offset" not in error["message"]
    assert (whole.status, waited.status) == (503, 503)
    assert whole.headers["retry-after"]
    assert "Idempotency-Key" in kept.events[-1]["error"]["message"]
    assert server.wait(20) == 0
    server.start()
    assert _job(server, streamed.headers["x-skipjoin-job-id"]).state == pb.JOB_STATE_CANCELLED
    with server.stub() as stub:
        jobs = stub.List(pb.ListRequest()).jobs
    assert sorted(job.state for job in jobs if job.state != pb.JOB_STATE_CANCELLED) == [
        job.state for job in jobs if job.job_id == kept.headers["x-skipjoin-job-id"]
    ]
    assert len(jobs) == 4


def test_a_client_that_leaves_while_it_is_written_to_is_no_fault(serve: Serve) -> None:
    server = serve(*HTTP, "--simulated-scale", "0.02", "--call-cap-s", "5")
    port = http_port(server)
    body = {"prompt": "x", "max_tokens": 3000, "ignore_eos": True, "stream": True, "logprobs": 5}
    for wait_s in (0.0, 0.05, 0.2):
        for reset in (True, False):
            with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
                if reset:
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                connection.sendall(post("/v1/completions", body))
                assert connection.recv(1000)
                time.sleep(wait_s)
    _until(lambda: _running(server) == 0)
    time.sleep(1.05)
    page = dict(figures(port))
    assert page['skipjoin_requests_rejected_total{reason="internal"}'] == 0
    assert "ERROR" not in server.log.read_text()
    assert "Traceback" not in server.log.read_text()


def test_a_stream_that_waits_has_its_headers_at_once_and_comments_then(serve: Serve) -> None:
    server = serve(
        *HTTP, "--simulated-scale", "20", "--max-batch", "1", "--stream-comment-s", "0.2", "--policy", "fcfs"
    )
    port = http_port(server)
    body = {"prompt": "x", "max_tokens": 2000, "ignore_eos": True, "stream": True}
    with socket.create_connection(("127.0.0.1", port), timeout=30) as running:
        running.sendall(post("/v1/completions", body))
        got = b""
        while b"data: " not in got:
            got += running.recv(65536)
        with socket.create_connection(("127.0.0.1", port), timeout=30) as waiting:
            waiting.sendall(post("/v1/completions", body))
            got = waiting.recv(65536)
            assert b"text/event-stream" in got and b"data: " not in got
            while got.count(b": waiting\n\n") < 3:
                got += waiting.recv(65536)
            assert b"data: " not in got


def test_tokens_are_asked_for(serve: Serve, tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text("".join(f"{t} {hashlib.sha256(f'{t}-key'.encode()).hexdigest()}\n" for t in ("red", "blue")))
    server = serve(*HTTP, "--tokens", str(tokens))
    port = http_port(server)
    for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": "red-key"}):
        for path, body in (("/v1/completions", HELLO), ("/v1/models", None), ("/metrics", None)):
            answer = call(port, path, body, **headers)
            assert (answer.status, answer.json["error"]["type"]) == (401, "authentication_error")
            assert answer.headers["www-authenticate"] == "Bearer"
    assert call(port, "/health").status == 200
    answers = [
        call(port, "/v1/completions", HELLO, authorization=f"Bearer {t}-key", Idempotency_Key="one")
        for t in ("red", "blue")
    ]
    assert [answer.status for answer in answers] == [200, 200]
    assert len({answer.headers["x-skipjoin-job-id"] for answer in answers}) == 2
    page = call(port, "/metrics", authorization="Bearer red-key").body.decode()
    assert "red" not in page.replace("preferred", "").split("skipjoin_jobs_finished_total")[1].split("\n")[0]
    assert "blue" not in page


def test_a_taken_port_is_said(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = subprocess.run(
            [sys.executable, "-m", "skipjoin.cli", "serve", "--executor", "simulated", "--job-pool", "memory",
             "--listen", "127.0.0.1:0", "--http-listen", f"127.0.0.1:{port}", "--admin-socket",
             str(tmp_path / "a.sock")],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
    assert done.returncode == 2
    assert f"{port}" in done.stderr and "HTTP" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_engine_killed_in_a_stream_is_a_pause(serve: Serve) -> None:
    server = serve(*HTTP, "--simulated-scale", "2")
    port = http_port(server)
    body = HELLO | {"max_tokens": 80, "stream": True}
    with ThreadPoolExecutor(1) as threads:
        streamed = threads.submit(call, port, "/v1/completions", body)
        _until(lambda: _running(server) == 1)
        time.sleep(0.3)
        server.kill_engine()
        events = streamed.result().events
    text = "".join(event["choices"][0]["text"] for event in events[:-1])
    assert events[-1] == "[DONE]"
    assert text == call(port, "/v1/completions", HELLO | {"max_tokens": 80}).json["choices"][0]["text"]
    assert json.dumps(text)
