"""Between text and tokens, at the door.

Owns the `Tokenizer` port that the door needs and the byte tokenizer of the simulated executor. It
does not know models; wiring puts the model's own tokenizer in its place. Intake encodes with it,
streams decode with `token_bytes`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ...core.errors import too_long
from ...core.view import ChatMessage

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

    def token_name(self, token: int) -> str | None:
        """What the vocabulary calls a token, such as </s>; None for an id that it does not know."""
        ...

    def check_size(self, text: str, most_tokens: int) -> None:
        """Raise NeverFits for a text of which can be told without encoding it that it has more
        tokens.
        """
        ...

    def encode(self, text: str, most_tokens: int | None = None) -> Sequence[int]:
        """Token ids of a prompt; special tokens written in the text are text. Raises InvalidInput,
        NeverFits for more than `most_tokens`.
        """
        ...

    def encode_chat(self, messages: Sequence[ChatMessage], most_tokens: int | None = None) -> Sequence[int]:
        """Token ids of a conversation by the model's chat template: `render` and `encode_rendered`
        in one.
        """
        ...

    def render(self, messages: Sequence[ChatMessage], most_tokens: int | None = None) -> Any:
        """A conversation by the model's chat template; it has a `text`.

        Raises InvalidInput when there is no template, or it refuses or takes too long, NeverFits
        where the text cannot be `most_tokens` only, Unavailable when it cannot be rendered now.
        """
        ...

    def encode_rendered(self, rendered: Any, most_tokens: int | None = None) -> Sequence[int]:
        """Token ids of what `render` answered. Raises InvalidInput, NeverFits."""
        ...

    def check_chat(self) -> None:
        """Have the chat template made ready. Raises InvalidInput saying why there is no chat,
        Unavailable.
        """
        ...

    def close(self) -> None:
        """Give back what rendering holds; idempotent."""
        ...


@dataclass(frozen=True, slots=True)
class PlainText:
    """A conversation as text."""

    text: str


class ByteTokenizer:
    """A token per byte of UTF-8, and one that ends: for the simulated executor, which knows no
    model.
    """

    def __init__(self) -> None:
        self.vocab_size = BYTE_VOCABULARY
        self.end_tokens = frozenset({BYTE_END})
        self.token_bytes: Sequence[bytes] = (*(bytes([value]) for value in range(256)), b"")

    def token_name(self, token: int) -> str | None:
        """A name for the token that ends."""
        return "<end>" if token == BYTE_END else None

    def check_size(self, text: str, most_tokens: int) -> None:
        """Encoding tells as soon."""

    def encode(self, text: str, most_tokens: int | None = None) -> Sequence[int]:
        """The bytes of the text."""
        ids = text.encode("utf-8", "surrogatepass")
        if most_tokens is not None and len(ids) > most_tokens:
            raise too_long(len(ids), most_tokens + 1, "text")
        return list(ids)

    def encode_chat(self, messages: Sequence[ChatMessage], most_tokens: int | None = None) -> Sequence[int]:
        """A line per message, and the beginning of the answer's."""
        return self.encode_rendered(self.render(messages), most_tokens)

    def render(self, messages: Sequence[ChatMessage], most_tokens: int | None = None) -> PlainText:
        """As text."""
        lines = [f"{message.role}: {message.content}\n" for message in messages]
        return PlainText("".join(lines) + "assistant: ")

    def encode_rendered(self, rendered: PlainText, most_tokens: int | None = None) -> Sequence[int]:
        """The bytes of it."""
        return self.encode(rendered.text, most_tokens)

    def check_chat(self) -> None:
        """There is always chat."""

    def close(self) -> None:
        """Nothing is held."""
