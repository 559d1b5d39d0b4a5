"""Errors survive the wire with class, field, limit and hint; statuses of strangers become the
nearest class.
"""

from __future__ import annotations

import base64

import grpc
import pytest
from google.rpc.error_details_pb2 import BadRequest
from google.rpc.status_pb2 import Status

from skipjoin.core import errors as e
from skipjoin.proto import status


class Call:
    """A failed call as grpc gives it: three methods."""

    def __init__(self, code: grpc.StatusCode, details: str | None, metadata: object = ()) -> None:
        self._answers = (code, details, metadata)

    def code(self) -> grpc.StatusCode:
        return self._answers[0]

    def details(self) -> str | None:
        return self._answers[1]

    def trailing_metadata(self) -> object:
        return self._answers[2]


def every_class() -> list[type[e.SkipjoinError]]:
    found, todo = [], [e.SkipjoinError]
    while todo:
        cls = todo.pop()
        found.append(cls)
        todo += cls.__subclasses__()
    # Others add what only their own code tells apart, under the code of its class here.
    return [cls for cls in found if cls.__module__ == e.__name__]


def make(cls: type[e.SkipjoinError]) -> e.SkipjoinError:
    if issubclass(cls, e.Overloaded):
        return cls("Too much.", retry_after_s=2.5, field="queue", limit="100 jobs")
    return cls("Wrong.", field="prompt", limit="1..9")


@pytest.mark.parametrize("cls", every_class())
def test_every_error_comes_back_as_itself(cls: type[e.SkipjoinError]) -> None:
    error = make(cls)
    code, message, metadata = status.abort_args(error)
    back, hint = status.error_of_call(Call(code, message, metadata))
    assert type(back) is e.by_code()[cls.code]
    assert back.code == cls.code
    assert (back.message, back.field, back.limit) == (error.message, error.field, error.limit)
    if isinstance(error, e.Overloaded):
        assert isinstance(back, e.Overloaded)
        assert back.retry_after_s == hint == 2.5
    else:
        assert hint == (status.DEFAULT_RETRY_S if cls is e.StoreUnavailable else None)


@pytest.mark.parametrize("cls", every_class())
def test_every_class_has_a_grpc_code_and_an_http_status(cls: type[e.SkipjoinError]) -> None:
    assert status.grpc_code(cls) not in (grpc.StatusCode.OK, grpc.StatusCode.UNKNOWN)
    assert 400 <= status.http_status(cls) < 600


def test_only_unavailable_is_what_clients_retry() -> None:
    retried = {cls for cls in every_class() if status.grpc_code(cls) is grpc.StatusCode.UNAVAILABLE}
    assert retried == {e.Unavailable, e.StoreUnavailable}


def test_bad_input_names_its_field_in_the_standard_detail() -> None:
    made = status.status_of(e.InvalidInput("Too hot.", field="sampling.temperature", limit="0..100"))
    bad = BadRequest()
    assert any(detail.Unpack(bad) for detail in made.details)
    assert [(v.field, v.description) for v in bad.field_violations] == [("sampling.temperature", "0..100")]


def test_an_unavailable_may_carry_a_hint() -> None:
    code, message, metadata = status.abort_args(e.Unavailable("Draining."), retry_after_s=0.25)
    back, hint = status.error_of_call(Call(code, message, metadata))
    assert type(back) is e.Unavailable
    assert hint == 0.25


@pytest.mark.parametrize(
    ("code", "cls"),
    [
        (grpc.StatusCode.UNAVAILABLE, e.Unavailable),
        (grpc.StatusCode.DEADLINE_EXCEEDED, e.DeadlineExceeded),
        (grpc.StatusCode.CANCELLED, e.Unavailable),
        (grpc.StatusCode.UNIMPLEMENTED, e.InternalError),
        (grpc.StatusCode.UNKNOWN, e.InternalError),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, e.Overloaded),
        (grpc.StatusCode.UNAUTHENTICATED, e.Unauthenticated),
    ],
)
def test_bare_statuses_become_the_nearest_class(code: grpc.StatusCode, cls: type[e.SkipjoinError]) -> None:
    back, hint = status.error_of_call(Call(code, None, None))
    assert type(back) is cls
    assert hint is None
    assert back.message


def test_garbage_and_foreign_details_are_ignored() -> None:
    garbage = ((status.DETAILS_KEY, b"\xff\xff"),)
    assert type(status.error_of_call(Call(grpc.StatusCode.NOT_FOUND, "x", garbage))[0]) is e.NotFound
    foreign = Status(code=5, message="x")
    foreign.details.add(type_url="type.googleapis.com/google.rpc.ErrorInfo", value=b"\x0a\x08CONFLICT\x12\x05other")
    metadata = ((status.DETAILS_KEY, foreign.SerializeToString()),)
    assert type(status.error_of_call(Call(grpc.StatusCode.NOT_FOUND, "x", metadata))[0]) is e.NotFound


def test_a_message_too_large_is_bad_input_not_overload() -> None:
    call = Call(grpc.StatusCode.RESOURCE_EXHAUSTED, "SERVER: Received message larger than max (9 vs. 4)")
    assert type(status.error_of_call(call)[0]) is e.InvalidInput


@pytest.mark.parametrize("letter", ["x", "\U0001f600", "\ud800"])
def test_long_and_odd_messages_still_fit_into_trailers(letter: str) -> None:
    error = e.InvalidInput(letter * 10**6, field=letter * 10**6, limit=letter * 10**6)
    code, message, metadata = status.abort_args(error)
    percent_encoded = 3 * len(message.encode())
    assert percent_encoded + len(base64.b64encode(metadata[0][1])) < 8192  # from there on gRPC may refuse them
    assert type(status.error_of_call(Call(code, message, metadata))[0]) is e.InvalidInput
