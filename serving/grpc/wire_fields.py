"""How many fields a message has, from its bytes.

Owns the walk along the lengths that are written in them. To parse a message makes an object of each
message inside, and four megabytes hold two million that are empty: the walk stops at the limit and
makes none. It knows no message of ours and judges no content; `rpc.py` asks before it parses.
"""

from __future__ import annotations

from functools import cache

from google.protobuf.descriptor import Descriptor

from ...core.errors import InvalidInput

_VARINT, _EIGHT_BYTES, _LENGTH, _FOUR_BYTES = 0, 1, 2, 5  # kinds of values; those of groups are not used any more
_MOST_TAG = 2**32


def has_more_fields(data: bytes, kind: Descriptor, most: int) -> bool:
    """Whether a message of this kind has more fields, those of messages inside it among them.
    Raises InvalidInput where the bytes are none.
    """
    count = at = 0
    end, inside = len(data), _messages(kind)
    around: list[tuple[int, dict[int, Descriptor]]] = []
    try:
        while True:
            while at == end and around:
                end, inside = around.pop()
            if at == end:
                return False
            count += 1
            if count > most:
                return True
            tag, at = _varint(data, at)
            match tag & 7 if tag < _MOST_TAG else -1:
                case 0:
                    _, at = _varint(data, at)
                case 1:
                    at += 8
                case 2:
                    size, at = _varint(data, at)
                    if (found := inside.get(tag >> 3)) is None or at + size > end:
                        at += size
                    else:
                        around.append((end, inside))
                        end, inside = at + size, _messages(found)
                case 5:
                    at += 4
                case _:
                    at = end + 1
            if at > end:
                raise _no_message()
    except IndexError:
        raise _no_message() from None


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A number and where it ends. Raises IndexError where the bytes end before."""
    byte = data[at]
    if byte < 0x80:
        return byte, at + 1
    value, shift = byte & 0x7F, 7
    for at in range(at + 1, at + 10):  # noqa: B020
        byte = data[at]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at + 1
        shift += 7
    raise IndexError("a number has ten bytes at most")


def _no_message() -> InvalidInput:
    return InvalidInput("The request is not a message of this method.", field="request")


@cache
def _messages(kind: Descriptor) -> dict[int, Descriptor]:
    """The kinds of messages that stand in fields of this one, by the fields' numbers."""
    return {number: at.message_type for number, at in kind.fields_by_number.items() if at.message_type is not None}
