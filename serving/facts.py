"""What the door must know of an engine, and what the engine must know to start.

Owns the two values of the handshake, `EngineOrder` (door to engine) and `EngineFacts` (engine to door), and their JSON. It builds nothing;
door and engine process exchange them as the first frames of the link.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from ..core.errors import InternalError, SkipjoinError, by_code


@dataclass(frozen=True, slots=True)
class EngineFacts:
    """A started engine: pools in pages and tokens, bounds for the door's checks, words for the start line."""

    incarnation: int
    device_pages: int
    host_pages: int
    page_tokens: int
    page_bytes: int
    max_context_tokens: int | None
    vocab_size: int
    max_batch: int
    policy: str
    device: str
    model_name: str
    profile: str

    @property
    def device_tokens(self) -> int:
        """Tokens of KV that the device pool holds."""
        return self.device_pages * self.page_tokens

    @property
    def job_tokens(self) -> int:
        """Prompt and output tokens that one job can have at most."""
        if self.max_context_tokens is None:
            return self.device_tokens
        return min(self.device_tokens, self.max_context_tokens)

    def to_json(self) -> bytes:
        """As the READY frame carries it."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_json(cls, payload: bytes) -> EngineFacts:
        """Read a READY frame."""
        return cls(**json.loads(payload))


@dataclass(frozen=True, slots=True)
class EngineOrder:
    """How to build an engine: its incarnation and the settings it reads, by name."""

    incarnation: int
    settings: dict[str, Any]

    def to_json(self) -> bytes:
        """As the SETTINGS frame carries it."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_json(cls, payload: bytes) -> EngineOrder:
        """Read a SETTINGS frame."""
        return cls(**json.loads(payload))


def failure_to_json(error: SkipjoinError) -> bytes:
    """Why an engine ends, as the FAILED frame carries it."""
    return json.dumps(
        {"code": error.code, "message": error.message, "field": error.field, "limit": error.limit}
    ).encode()


def failure_from_json(payload: bytes) -> SkipjoinError:
    """Read a FAILED frame back into the error that it was."""
    said = json.loads(payload)
    cls = by_code().get(said["code"], InternalError)
    try:
        return cls(said["message"], field=said["field"], limit=said["limit"])
    except TypeError:
        return InternalError(said["message"])
