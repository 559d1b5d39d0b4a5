"""What renderer and template process say to each other.

Owns the frames on their two pipes. It knows neither end.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import Enum
from typing import BinaryIO

HEADER = struct.Struct("!cI")


class Kind(Enum):
    """What a frame holds."""

    TEMPLATE = b"P"  # to the process: JSON of source, special, time_s, memory_bytes
    CONVERSATION = b"C"  # to the process: JSON of messages, most_characters
    READY = b"R"  # the template is compiled
    TEXT = b"T"  # what was rendered
    FAILED = b"F"  # a sentence: it does not compile, or refuses
    TOO_LONG = b"L"  # more characters than asked for
    NO_MEMORY = b"M"  # and the process ends


@dataclass(frozen=True, slots=True)
class Frame:
    """One message."""

    kind: Kind
    body: bytes


def frame_bytes(kind: Kind, body: bytes) -> bytes:
    """A frame as it is written."""
    return HEADER.pack(kind.value, len(body)) + body


def write_frame(pipe: BinaryIO, kind: Kind, body: bytes) -> None:
    """Write and flush."""
    pipe.write(HEADER.pack(kind.value, len(body)))
    pipe.write(body)
    pipe.flush()


def read_frame(pipe: BinaryIO) -> Frame | None:
    """The next frame; None where the pipe ends."""
    head = pipe.read(HEADER.size)
    if len(head) < HEADER.size:
        return None
    kind, length = HEADER.unpack(head)
    body = pipe.read(length)
    return Frame(Kind(kind), body) if len(body) == length else None
