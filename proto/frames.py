"""The frames between door and engine, and how they are cut from a byte stream.

Owns the values of both directions (`Hello`, `Events`, `StopAsked`; `Starting`, `Ready`, `Effects`,
`Launched`, `Beat`, `Executors`, `StartFailed`), their encoding and the length prefix. It knows no socket and no
event loop: both ends feed what they read to a `FrameReader`. proto/batches.py carries what is inside.

A frame is its length as 4 little-endian bytes and a DoorFrame or EngineFrame message. A malformed
frame raises InvariantViolation: both ends are ours, of one version.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
from google.protobuf.message import DecodeError

from ..core.effects import TurnEffects
from ..core.errors import InvariantViolation
from ..core.events import Event
from ..core.executor import ExecutorFacts
from . import batches
from . import engine_pb2 as pb
from .admin_pb2 import ExecutorRank

PROTOCOL = 1
MAX_FRAME_BYTES = 1 << 28
_LENGTH = struct.Struct("<I")


@dataclass(frozen=True, slots=True)
class Hello:
    """The door's first frame: the incarnation that every later frame carries, and the settings of
    the engine as JSON.
    """

    incarnation: int
    settings_json: str
    protocol: int = PROTOCOL


@dataclass(frozen=True, slots=True, eq=False)
class Events:
    """A drain's events."""

    incarnation: int
    events: tuple[Event, ...]


@dataclass(frozen=True, slots=True)
class StopAsked:
    """The engine shall end after its current turn."""


@dataclass(frozen=True, slots=True)
class Starting:
    """How far an engine has come that is not ready yet: a step, and `done` of `total` of it in the
    step's own unit; 0 of 0 where it has none.
    """

    incarnation: int
    step: str
    done: int = 0
    total: int = 0


@dataclass(frozen=True, slots=True)
class Ready:
    """The engine's first frame when it can serve: what it found. `facts_json` holds more for a
    person or a log.
    """

    incarnation: int
    pid: int
    policy: str
    executor: ExecutorFacts
    facts_json: str = "{}"
    protocol: int = PROTOCOL


@dataclass(frozen=True, slots=True)
class StartFailed:
    """Instead of `Ready`, or as the last word: the code, message, field and limit of the error that
    ends the engine.
    """

    incarnation: int
    code: str
    message: str
    field: str | None = None
    limit: str | None = None


@dataclass(frozen=True, slots=True)
class Launched:
    """The jobs of the batch that is about to be computed, sent when they are others than before."""

    incarnation: int
    handles: frozenset[int]


@dataclass(frozen=True, slots=True)
class Beat:
    """A sign that a turn goes on, on the engine's monotonic clock, for iterations that take long;
    `seq` counts the signs.
    """

    incarnation: int
    seq: int
    now_ns: int


@dataclass(frozen=True, slots=True, eq=False)
class Effects:
    """One turn's effects."""

    incarnation: int
    effects: TurnEffects


@dataclass(frozen=True, slots=True, eq=False)
class Executors:
    """The ranks of the engine's executor, rank 0 first, as they are now."""

    incarnation: int
    ranks: tuple[ExecutorRank, ...]


FromDoor = Hello | Events | StopAsked
FromEngine = Starting | Ready | StartFailed | Launched | Beat | Effects | Executors


def encode_from_door(frame: FromDoor) -> bytes:
    """The message of a door frame, without its length."""
    match frame:
        case Events():
            return batches.encode_events(frame.incarnation, frame.events)
        case Hello():
            hello = pb.Hello(incarnation=frame.incarnation, protocol=frame.protocol, settings_json=frame.settings_json)
            return pb.DoorFrame(hello=hello).SerializeToString()
        case StopAsked():
            return pb.DoorFrame(stop=pb.Stop()).SerializeToString()


def decode_from_door(data: bytes) -> FromDoor:
    """The frame that the door sent. Raises InvariantViolation."""
    try:
        message = pb.DoorFrame.FromString(data)
    except DecodeError:
        raise InvariantViolation("A frame of the door cannot be read.") from None
    match message.WhichOneof("body"):
        case "events":
            return Events(message.events.incarnation, tuple(batches.events_of(message.events)))
        case "hello":
            hello = message.hello
            return Hello(hello.incarnation, hello.settings_json, hello.protocol)
        case "stop":
            return StopAsked()
        case _:
            raise InvariantViolation("A frame of the door is empty.")


def encode_from_engine(frame: FromEngine) -> bytes:
    """The message of an engine frame, without its length."""
    match frame:
        case Effects():
            return batches.encode_effects(frame.incarnation, frame.effects)
        case Beat():
            beat = pb.Beat(incarnation=frame.incarnation, seq=frame.seq, now_ns=frame.now_ns)
            return pb.EngineFrame(beat=beat).SerializeToString()
        case Starting():
            starting = pb.Starting(incarnation=frame.incarnation, step=frame.step, done=frame.done, total=frame.total)
            return pb.EngineFrame(starting=starting).SerializeToString()
        case Ready():
            return pb.EngineFrame(ready=_ready_to_wire(frame)).SerializeToString()
        case StartFailed():
            message = pb.EngineFrame()
            message.start_failed.incarnation = frame.incarnation
            message.start_failed.failure.code = frame.code
            message.start_failed.failure.message = frame.message
            for name in ("field", "limit"):
                value = getattr(frame, name)
                if value is not None:
                    setattr(message.start_failed, name, value)
            return message.SerializeToString()
        case Launched():
            column = np.fromiter(frame.handles, dtype="<i8", count=len(frame.handles))
            launched = pb.Launched(incarnation=frame.incarnation, handles=column.tobytes())
            return pb.EngineFrame(launched=launched).SerializeToString()
        case Executors():
            executors = pb.Executors(incarnation=frame.incarnation, ranks=frame.ranks)
            return pb.EngineFrame(executors=executors).SerializeToString()


def decode_from_engine(data: bytes) -> FromEngine:
    """The frame that the engine sent. Raises InvariantViolation."""
    try:
        message = pb.EngineFrame.FromString(data)
    except DecodeError:
        raise InvariantViolation("A frame of the engine cannot be read.") from None
    match message.WhichOneof("body"):
        case "effects":
            return Effects(message.effects.incarnation, batches.effects_of(message.effects))
        case "beat":
            return Beat(message.beat.incarnation, message.beat.seq, message.beat.now_ns)
        case "starting":
            starting = message.starting
            return Starting(starting.incarnation, starting.step, starting.done, starting.total)
        case "ready":
            return _ready_from_wire(message.ready)
        case "start_failed":
            failed = message.start_failed
            return StartFailed(
                failed.incarnation,
                failed.failure.code,
                failed.failure.message,
                failed.field if failed.HasField("field") else None,
                failed.limit if failed.HasField("limit") else None,
            )
        case "launched":
            handles = np.frombuffer(message.launched.handles, dtype="<i8")
            return Launched(message.launched.incarnation, frozenset(handles.tolist()))
        case "executors":
            return Executors(message.executors.incarnation, tuple(message.executors.ranks))
        case _:
            raise InvariantViolation("A frame of the engine is empty.")


def _ready_to_wire(ready: Ready) -> pb.Ready:
    facts = ready.executor
    return pb.Ready(
        incarnation=ready.incarnation,
        protocol=ready.protocol,
        pid=ready.pid,
        generation=facts.generation,
        device_pages=facts.device_pages,
        host_pages=facts.host_pages,
        page_tokens=facts.page_tokens,
        page_bytes=facts.page_bytes,
        max_context_tokens=facts.max_context_tokens,
        vocab_size=facts.vocab_size,
        policy=ready.policy,
        facts_json=ready.facts_json,
    )


def _ready_from_wire(message: pb.Ready) -> Ready:
    facts = ExecutorFacts(
        generation=message.generation,
        device_pages=message.device_pages,
        host_pages=message.host_pages,
        page_tokens=message.page_tokens,
        page_bytes=message.page_bytes,
        max_context_tokens=message.max_context_tokens if message.HasField("max_context_tokens") else None,
        vocab_size=message.vocab_size,
    )
    return Ready(message.incarnation, message.pid, message.policy, facts, message.facts_json, message.protocol)


def framed(data: bytes) -> bytes:
    """A message with its length before it. Raises InvariantViolation when it is longer than a frame
    may be.
    """
    if len(data) > MAX_FRAME_BYTES:
        raise InvariantViolation(f"A frame of {len(data)} bytes is longer than {MAX_FRAME_BYTES}.")
    return _LENGTH.pack(len(data)) + data


class FrameReader:
    """Cuts a byte stream into frames, whatever pieces it comes in."""

    def __init__(self, largest: int = MAX_FRAME_BYTES) -> None:
        """`largest`: bytes of a frame at most."""
        self._buffer = bytearray()
        self._largest = largest

    def feed(self, piece: bytes) -> list[bytes]:
        """Take what was read; answers the frames that are complete now. Raises InvariantViolation
        for a length out of bounds.
        """
        self._buffer += piece
        frames: list[bytes] = []
        start = 0
        while len(self._buffer) - start >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._buffer, start)
            if length > self._largest:
                raise InvariantViolation(f"A frame claims {length} bytes; at most {self._largest} are sent.")
            end = start + _LENGTH.size + length
            if end > len(self._buffer):
                break
            frames.append(bytes(self._buffer[start + _LENGTH.size : end]))
            start = end
        del self._buffer[:start]
        return frames

    @property
    def incomplete(self) -> bool:
        """Whether bytes of an unfinished frame are held: at the end of the stream, they are lost."""
        return bool(self._buffer)
