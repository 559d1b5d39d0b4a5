"""Between text and tokens, at the door.

Owns the `Tokenizer` port that the door needs and the byte tokenizer of the simulated executor. It does not know models; wiring puts the model's
own tokenizer in its place. Intake encodes with it, streams decode with `token_bytes`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ..core.view import ChatMessage

BYTE_VOCABULARY = 257
BYTE_END = 256


class Tokenizer(Protocol):
    """Text to token ids and back, of one model. Thread-safe."""

    @property
    def vocab_size(self) -> int:
        """Token ids are 0..vocab_size - 1."""
        ...

    @property
    def end_tokens(self) -> frozenset[int]:
        """Tokens that end a job unless it ignores them."""
        ...

    @property
    def token_bytes(self) -> Sequence[bytes]:
        """What each token id stands for; special tokens stand for nothing."""
        ...

    def encode(self, text: str) -> Sequence[int]:
        """Token ids of a prompt; special tokens written in the text are text."""
        ...

    def encode_chat(self, messages: Sequence[ChatMessage]) -> Sequence[int]:
        """Token ids of a conversation by the model's chat template. Raises InvalidInput when there is none, or it refuses."""
        ...


class ByteTokenizer:
    """A token per byte of UTF-8, and one that ends: for the simulated executor, which knows no model."""

    def __init__(self) -> None:
        self.vocab_size = BYTE_VOCABULARY
        self.end_tokens = frozenset({BYTE_END})
        self.token_bytes: Sequence[bytes] = (*(bytes([value]) for value in range(256)), b"")

    def encode(self, text: str) -> Sequence[int]:
        """The bytes of the text."""
        return list(text.encode("utf-8", "surrogatepass"))

    def encode_chat(self, messages: Sequence[ChatMessage]) -> Sequence[int]:
        """A line per message, and the beginning of the answer's."""
        lines = [f"{message.role}: {message.content}\n" for message in messages]
        return self.encode("".join(lines) + "assistant: ")
