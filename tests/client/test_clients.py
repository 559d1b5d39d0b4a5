"""Both clients against a real server: every token once, one job per request, typed errors."""

from __future__ import annotations

import socket
import subprocess
import threading
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import pytest

from skipjoin.client import ChatMessage, RetryParams, SamplingParams, TlsParams
from skipjoin.core import errors as e
from skipjoin.core.job import FinishReason, JobState
from skipjoin.core.view import Chunk, JobEvent, JobEventKind
from skipjoin.proto import job_pool_pb2 as pb

WHOLE = " 0 1 2 3 4 5"
OPENSSL = """openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout key.pem
    -out cert.pem -days 2 -subj /CN=localhost -addext subjectAltName=IP:127.0.0.1,DNS:localhost"""


def tokens_of(chunks: list[Chunk]) -> list[int]:
    return [token for chunk in chunks for token in chunk.token_ids]


def dead_target() -> str:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"127.0.0.1:{listener.getsockname()[1]}"


def test_generate_gives_the_whole_answer(drive: Any, door: Any) -> None:
    answer = drive.result(door.start(), "hello", params=SamplingParams(max_new_tokens=6))
    assert answer.text == WHOLE
    assert answer.token_ids == (0, 1, 2, 3, 4, 5)
    assert answer.finish_reason is FinishReason.LENGTH
    assert len(door.jobs) == 1
    assert door.calls[0][1].spec.sampling.max_new_tokens == 6


def test_the_three_forms_of_a_prompt_and_what_is_said_of_sampling(drive: Any, door: Any) -> None:
    target = door.start()
    drive.call(target, "submit", "text")
    drive.call(target, "submit", token_ids=[1, 2], params={"temperature": 0.0})
    said = [{"role": "user", "content": "hi"}, ChatMessage("assistant", "ho")]
    drive.call(target, "submit", messages=said, params=SamplingParams())
    specs = [request.spec for _, request in door.calls]
    assert [spec.WhichOneof("prompt") for spec in specs] == ["text", "token_ids", "messages"]
    assert not specs[0].HasField("sampling")
    assert [field.name for field, _ in specs[1].sampling.ListFields()] == ["temperature"]
    assert specs[2].sampling.temperature == 1.0
    assert [(m.role, m.content) for m in specs[2].messages.messages] == [("user", "hi"), ("assistant", "ho")]


def test_a_priority_goes_with_a_submit_and_a_generate(drive: Any, door: Any) -> None:
    target = door.start()
    drive.call(target, "submit", "a", priority=-5)
    drive.result(target, "b", priority=100)
    drive.result(target, "c")
    assert [request.spec.priority for _, request in door.calls] == [-5, 100, 0]


@pytest.mark.parametrize(
    ("named", "field"),
    [
        ({}, "prompt"),
        ({"prompt": "a", "priority": 101}, "priority"),
        ({"prompt": "a", "priority": 0.5}, "priority"),
        ({"prompt": "a", "token_ids": [1]}, "prompt"),
        ({"prompt": b"bytes"}, "prompt"),
        ({"prompt": "a\ud800"}, "text"),
        ({"token_ids": [2**31]}, "token_ids"),
        ({"token_ids": [1.5]}, "token_ids"),
        ({"token_ids": "abc"}, "token_ids"),
        ({"token_ids": [True]}, "token_ids"),
        ({"messages": [{"role": "user"}]}, "messages"),
        ({"prompt": "a", "params": {"temprature": 1}}, "temprature"),
        ({"prompt": "a", "params": {"temperature": -1}}, "temperature"),
        ({"prompt": "a", "job_timeout_s": 0}, "job_timeout_s"),
        ({"prompt": "a", "request_id": "a b"}, "request_id"),
    ],
)
def test_bad_input_is_refused_before_the_wire(drive: Any, door: Any, named: dict[str, Any], field: str) -> None:
    with pytest.raises(e.InvalidInput) as caught:
        drive.call(door.start(), "submit", **named)
    assert caught.value.field == field
    assert door.calls == []


def test_a_cut_connection_loses_and_repeats_nothing(drive: Any, door: Any, new_relay: Any) -> None:
    door.release = 2
    door.start()
    relay = new_relay(door.port)
    cuts = iter([2, 4])
    next_cut = [next(cuts)]

    def seen(chunk: Chunk, generation: Any) -> None:
        if chunk.end == next_cut[0]:
            relay.cut()
            next_cut[0] = next(cuts, 99)
            door.let_go(next_cut[0] if next_cut[0] != 99 else 10**9)

    chunks = drive.collect(relay.target, "generate", "x", seen=seen)
    assert tokens_of(chunks) == [0, 1, 2, 3, 4, 5]
    assert "".join(chunk.text for chunk in chunks) == WHOLE
    assert [request.offset for name, request in door.calls if name == "Stream"] == [2, 4]
    assert door.count("Generate") == 1
    assert relay.connections == 3


def test_a_restarted_server_is_found_again(drive: Any, door: Any, new_door: Any) -> None:
    door.release = 3
    target = door.start()

    def seen(chunk: Chunk, generation: Any) -> None:
        if chunk.end == 3 and door.count("Generate") == 1 and not again.calls and again.port == 0:
            door.stop()
            again.start(door.port)
            again.let_go()

    again = new_door(door.jobs)
    chunks = drive.collect(target, "generate", "x", seen=seen)
    assert tokens_of(chunks) == [0, 1, 2, 3, 4, 5]
    assert [(name, request.offset) for name, request in again.calls] == [("Stream", 3)]


def test_a_submit_whose_answer_was_lost_is_one_job(drive: Any, door: Any) -> None:
    door.after["Submit"] = [e.Unavailable("gone"), e.Unavailable("gone")]
    view = drive.call(door.start(), "submit", "x")
    assert door.count("Submit") == 3
    assert list(door.jobs) == [view.job_id]
    assert len({request.request_id for _, request in door.calls}) == 1


def test_a_generate_whose_answer_was_lost_is_one_job(drive: Any, door: Any) -> None:
    door.after["Generate"] = [e.Unavailable("gone")]
    assert drive.result(door.start(), "x").text == WHOLE
    assert door.count("Generate") == 2
    assert len(door.jobs) == 1


def test_two_submits_are_two_jobs_unless_they_share_a_request_id(drive: Any, door: Any) -> None:
    target = door.start()
    for request_id in (None, None, "same", "same"):
        drive.call(target, "submit", "x", request_id=request_id)
    assert len(door.jobs) == 3


def test_the_next_target_is_tried_when_one_is_down(drive: Any, door: Any) -> None:
    dead = dead_target()
    assert drive.result([dead, door.start()], "x").text == WHOLE
    assert drive.result(f"{dead}, 127.0.0.1:{door.port}", "x").text == WHOLE


def test_a_stream_goes_on_at_another_door_of_the_pool(drive: Any, door: Any, new_door: Any) -> None:
    door.release = 3
    other = new_door(door.jobs)

    def seen(chunk: Chunk, generation: Any) -> None:
        if chunk.end == 3 and not other.calls:
            door.stop()
            other.let_go()

    chunks = drive.collect([door.start(), other.start()], "generate", "x", seen=seen)
    assert tokens_of(chunks) == [0, 1, 2, 3, 4, 5]
    assert [(name, request.offset) for name, request in other.calls] == [("Stream", 3)]


def test_without_any_server_it_gives_up_with_unavailable(drive: Any) -> None:
    settings = {"retry": RetryParams(first_s=0.001, longest_s=0.001, give_up_s=0.0)}
    with pytest.raises(e.Unavailable):
        drive.call([dead_target(), dead_target()], "get", "x", settings=settings)
    with pytest.raises(e.Unavailable):
        drive.result(dead_target(), "x", settings=settings)


@pytest.mark.parametrize("method", ["Submit", "Generate"])
@pytest.mark.parametrize(
    "error",
    [
        e.Overloaded("Full.", retry_after_s=7.5, field="queue", limit="100"),
        e.NeverFits("Too long.", field="prompt", limit="4096"),
        e.Conflict("Another body.", field="request_id"),
        e.Unauthenticated("Who?"),
        e.InternalError("Ours."),
        e.DeadlineExceeded("Late."),
    ],
    ids=lambda error: error.code,
)
def test_what_is_not_unavailable_is_raised_at_once(drive: Any, door: Any, error: e.SkipjoinError, method: str) -> None:
    door.fail[method] = [error]
    target = door.start()
    with pytest.raises(type(error)) as caught:
        drive.call(target, "submit", "x") if method == "Submit" else drive.result(target, "x")
    assert (caught.value.message, caught.value.field, caught.value.limit) == (error.message, error.field, error.limit)
    assert getattr(caught.value, "retry_after_s", None) == getattr(error, "retry_after_s", None)
    assert door.count(method) == 1


def test_wrong_offsets(drive: Any, door: Any) -> None:
    target = door.start()
    job_id = drive.call(target, "submit", "x").job_id
    assert tokens_of(drive.collect(target, "stream", job_id, offset=4)) == [4, 5]
    (end,) = drive.collect(target, "stream", job_id, offset=6)
    assert end.finish is not None
    with pytest.raises(e.OffsetOutOfRange) as caught:
        drive.collect(target, "stream", job_id, offset=7)
    assert caught.value.limit == "0..6"
    before = len(door.calls)
    for offset in (-1, 2**63):
        with pytest.raises(e.InvalidInput, match="offset"):
            drive.collect(target, "stream", job_id, offset=offset)
    assert len(door.calls) == before


def test_get_list_and_unknown_jobs(drive: Any, door: Any) -> None:
    target = door.start()
    ids = [drive.call(target, "submit", "x").job_id for _ in range(3)]
    assert drive.call(target, "get", ids[1]).job_id == ids[1]
    page = drive.call(target, "list", states=[JobState.ACCEPTED])
    assert [job.job_id for job in page.jobs] == [ids[2], ids[1]]
    rest = drive.call(target, "list", page_token=page.next_page_token, page_size=50)
    assert [job.job_id for job in rest.jobs] == [ids[0]]
    assert rest.next_page_token == ""
    with pytest.raises(e.NotFound):
        drive.call(target, "get", "nope")
    with pytest.raises(e.NotFound):
        drive.collect(target, "stream", "nope")
    with pytest.raises(e.InvalidInput, match="page_size"):
        drive.call(target, "list", page_size=-1)


def test_a_cancelled_job_says_so(drive: Any, door: Any) -> None:
    door.release = 2
    target = door.start()
    job_id = drive.call(target, "submit", "x").job_id
    drive.call(target, "cancel", job_id, reason="no longer wanted")
    chunks = drive.collect(target, "stream", job_id)
    assert chunks[-1].finish is not None
    assert chunks[-1].finish.reason is FinishReason.CANCELLED
    with pytest.raises(e.InvalidInput, match="reason"):
        drive.call(target, "cancel", job_id, reason="x" * 201)


def test_events_are_told_when_asked_for(drive: Any, door: Any) -> None:
    target, told = door.start(), []
    drive.collect(target, "generate", "x", on_event=told.append)
    assert told == [JobEvent(JobEventKind.STARTED, 5, level=1)]  # type: ignore[arg-type]
    drive.collect(target, "generate", "x")
    assert [request.include_events for _, request in door.calls] == [True, False]


def test_a_call_never_hangs_beyond_its_time(drive: Any, door: Any) -> None:
    stop = threading.Event()
    door.fail["Get"] = [lambda context: stop.wait(30)]
    door.release = 1
    target = door.start()
    with pytest.raises(e.DeadlineExceeded):
        drive.call(target, "get", "x", settings={"timeout_s": 0.2})
    with pytest.raises(e.DeadlineExceeded):
        drive.collect(target, "generate", "x", timeout_s=0.3)
    stop.set()


def test_a_stream_that_the_server_cut_at_its_cap_is_attached_again(drive: Any, door: Any) -> None:
    target = door.start()
    job_id = drive.call(target, "submit", "x").job_id
    door.fail["Stream"] = [e.DeadlineExceeded("No call lasts longer than that.")]
    assert tokens_of(drive.collect(target, "stream", job_id)) == [0, 1, 2, 3, 4, 5]
    assert door.count("Stream") == 2


@pytest.mark.parametrize(
    ("shift", "word"), [(1, "left out"), (-1, "twice")], ids=["a token is missing", "a token comes twice"]
)
def test_a_server_that_miscounts_is_not_believed(drive: Any, door: Any, shift: int, word: str) -> None:
    def spoil(chunk: Chunk) -> Chunk:
        return chunk if chunk.offset < 3 else Chunk(chunk.offset + shift, chunk.token_ids, chunk.text)

    door.spoil = spoil
    with pytest.raises(e.InternalError, match=word):
        drive.result(door.start(), "x")


class BadWire(grpc.GenericRpcHandler):
    """Answers every call with bytes that are no message (a string that is not UTF-8)."""

    def service(self, details: Any) -> Any:
        if details.method.endswith("/Get"):
            bad = pb.GetResponse(job=pb.Job(job_id="XX")).SerializeToString().replace(b"XX", b"\xff\xfe")
            return grpc.unary_unary_rpc_method_handler(lambda request, context: bad)
        bad = pb.StreamResponse(chunk=pb.Chunk(text="XX")).SerializeToString().replace(b"XX", b"\xff\xfe")
        return grpc.unary_stream_rpc_method_handler(lambda request, context: iter([bad]))


def test_bytes_that_are_no_message_are_an_internal_error(drive: Any) -> None:
    server = grpc.server(futures.ThreadPoolExecutor(2), handlers=[BadWire()])
    target = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        with pytest.raises(e.InternalError):
            drive.call(target, "get", "x")
        with pytest.raises(e.InternalError):
            drive.collect(target, "stream", "x")
    finally:
        server.stop(0).wait()


def test_a_stream_that_always_ends_early_is_given_up(drive: Any, door: Any) -> None:
    target = door.start()
    job_id = drive.call(target, "submit", "x").job_id
    door.spoil = lambda chunk: Chunk(0)  # an empty chunk is no progress
    door.jobs[job_id].length = 1
    door.end_early = True
    settings = {"retry": RetryParams(first_s=0.001, longest_s=0.001, give_up_s=0.05)}
    with pytest.raises(e.Unavailable, match="ended before"):
        drive.collect(target, "stream", job_id, settings=settings)
    assert door.count("Stream") > 2


def test_a_token_goes_with_every_call_but_never_in_plain_text_abroad(drive: Any, door: Any) -> None:
    target = door.start()
    drive.call(target, "submit", "x", settings={"token": "s3cret"})
    drive.result(target, "x", settings={"token": "s3cret"})
    assert [shown.get("authorization") for shown in door.metadata] == ["Bearer s3cret"] * 2
    with pytest.raises(e.InvalidInput, match="plain text") as caught:
        drive.client("192.0.2.1:50071", token="s3cret")
    assert "s3cret" not in str(caught.value)
    with pytest.raises(e.InvalidInput, match="token"):
        drive.client(target, token="a\nb")


@pytest.mark.parametrize("target", ["", "host", "host:0", "host:99999", "host:x", "unix:", "http://host:1"])
def test_a_target_that_is_none_is_named(drive: Any, target: str) -> None:
    with pytest.raises(e.InvalidInput) as caught:
        drive.client(target)
    assert caught.value.field == "target"


def test_tls_with_roots_of_its_own(drive: Any, door: Any, tmp_path: Path) -> None:
    made = subprocess.run(OPENSSL.split(), cwd=tmp_path, capture_output=True, check=False)
    assert made.returncode == 0, made.stderr
    key, cert = (tmp_path / "key.pem").read_bytes(), (tmp_path / "cert.pem").read_bytes()
    target = door.start(0, grpc.ssl_server_credentials([(key, cert)]))
    answer = drive.result(target, "x", settings={"tls": TlsParams(root_pem=cert), "token": "t"})
    assert answer.text == WHOLE
    once = RetryParams(give_up_s=0.0)
    with pytest.raises(e.Unavailable):
        drive.call(target, "get", "x", settings={"tls": TlsParams(), "retry": once})
    with pytest.raises(e.Unavailable):
        drive.call(target, "get", "x", settings={"retry": once})


def test_a_failed_job_raises_with_its_reason(drive: Any, door: Any) -> None:
    from skipjoin.core.view import Finish

    target = door.start()
    for code, cls in (("POISON_JOB", e.PoisonJob), ("JOB_FAILED", e.JobFailed), ("EXECUTOR_LOST", e.JobFailed)):

        def spoil(chunk: Chunk, code: str = code) -> Chunk:
            return Chunk(0, finish=Finish(FinishReason.FAILED, 0, (code, "It crashed.")))

        door.spoil = spoil
        with pytest.raises(cls, match="It crashed") as caught:
            drive.result(target, "x")
        assert type(caught.value) is cls


def test_a_closed_client_says_so(drive: Any, door: Any) -> None:
    client = drive.client(door.start())
    client._closed = True
    with pytest.raises(e.InvalidInput, match="closed"):
        client.generate("x")
