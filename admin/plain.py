"""Messages as plain values, for `--json`.

Owns one rule for all of them: numbers are numbers (protobuf's own JSON makes strings of large
ones), enum values are short lower-case words, times are ISO 8601, what is unset is null. It knows
no particular message.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from google.protobuf.descriptor import EnumDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp


def plain(message: Message) -> Any:
    """The message as dictionaries, lists, strings, numbers and None."""
    if isinstance(message, (Timestamp, Duration)):
        return message.ToJsonString()
    return {field.name: _field(message, field) for field in message.DESCRIPTOR.fields}


def word(enum: EnumDescriptor | None, number: int) -> str | None:
    """JOB_STATE_CLAIMED of JobState is "claimed"; the unspecified value is None."""
    assert enum is not None, "only fields of an enum have words"
    if number == 0:
        return None
    value = enum.values_by_number.get(number)
    if value is None:
        return str(number)
    shared = enum.values_by_number[0].name.removesuffix("UNSPECIFIED")
    return value.name.removeprefix(shared).lower()


def _field(message: Message, field: Any) -> Any:
    value = getattr(message, field.name)
    if field.is_repeated:
        if isinstance(value, Mapping):
            return {key: _one(field, item) for key, item in value.items()}
        return [_one(field, item) for item in value]
    if field.has_presence and not message.HasField(field.name):
        return None
    return _one(field, value)


def _one(field: Any, value: Any) -> Any:
    if isinstance(value, Message):
        return plain(value)
    if field.enum_type is not None:
        return word(field.enum_type, value)
    return value
