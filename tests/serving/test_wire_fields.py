"""Counting fields before a message is parsed: what is counted, and that nothing hides from it."""

from __future__ import annotations

import contextlib

import pytest

from skipjoin.core.errors import InvalidInput
from skipjoin.proto import job_pool_pb2 as pb
from skipjoin.serving.grpc.wire_fields import has_more_fields

KIND = pb.SubmitRequest.DESCRIPTOR
MOST = 2**15


def conversation(messages: int) -> bytes:
    spec = pb.JobSpec(messages=pb.Chat(messages=[pb.ChatMessage(role="user", content="x" * 200)] * messages))
    return pb.SubmitRequest(spec=spec).SerializeToString()


def inside(number: int, data: bytes) -> bytes:
    """A field of that number that holds the bytes."""
    size, length = len(data), b""
    while size >= 0x80:
        length, size = length + bytes([size & 0x7F | 0x80]), size >> 7
    return bytes([number << 3 | 2]) + length + bytes([size]) + data


def test_fields_are_counted_in_messages_inside_and_nowhere_else() -> None:
    # A spec, its messages, and ten messages of two fields.
    assert not has_more_fields(conversation(10), KIND, 32)
    assert has_more_fields(conversation(10), KIND, 31)
    ids = pb.SubmitRequest(spec=pb.JobSpec(token_ids=pb.TokenIds(ids=range(100_000))))
    assert not has_more_fields(ids.SerializeToString(), KIND, 3)
    text = pb.SubmitRequest(spec=pb.JobSpec(text="\x0a\x00" * 1_000_000), request_id="x")
    assert not has_more_fields(text.SerializeToString(), KIND, 3)
    assert not has_more_fields(b"", KIND, 0)
    assert not has_more_fields(conversation(4096), KIND, MOST)


@pytest.mark.parametrize(
    "data",
    [
        inside(1, inside(3, inside(1, b"") * 2_000_000)),  # empty messages of a conversation
        inside(1, b"") * 1_000_000,
        inside(1, inside(2, b"\x08\x01" * 100_000)),  # ids one by one
        inside(15, b"") * 100_000,  # fields that are not known
        b"\x7d\x00\x00\x00\x00" * 100_000,
        b"\x79\x00\x00\x00\x00\x00\x00\x00\x00" * 100_000,
    ],
)
def test_many_fields_are_counted_of_whatever_kind(data: bytes) -> None:
    assert has_more_fields(data, KIND, MOST)


@pytest.mark.parametrize(
    "start",
    [
        b"\x7b\x7c",  # a group
        b"\x7f",
        b"\xff" * 11,
        b"\xfa\x80\x80\x80\x80\x80\x00\x00",
        b"\x7a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        b"\x0a\xff\xff\xff\x7f",
        b"\x0a\x02\x1a\x05",  # longer than what it is in
    ],
)
def test_no_beginning_hides_what_follows(start: bytes) -> None:
    data = start + inside(1, inside(3, inside(1, b"") * 200_000))
    with contextlib.suppress(InvalidInput):  # no message, which is found before it is parsed as well
        assert has_more_fields(data, KIND, MOST)


def test_bytes_that_end_too_early_are_no_message() -> None:
    data = conversation(3)
    for cut in range(1, len(data)):
        with pytest.raises(InvalidInput, match="not a message"):
            has_more_fields(data[:cut], KIND, MOST)
