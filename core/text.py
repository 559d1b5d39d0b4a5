"""The text of a job's tokens.

Owns `TextAssembler`: text after k tokens is a pure function of those tokens, the stop strings and
the hidden tokens, whether it is made token by token or all at once. It does not know a tokenizer,
only the bytes of each token; door and SDK-free callers such as `skipjoin.LLM` use it.

Held back are bytes that begin a stop string or an incomplete UTF-8 character; they come with the
token that completes or refutes them. A stop string cuts the text before itself. `finish` gives what
is held, an incomplete character as U+FFFD.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Sequence

from .errors import InvariantViolation
from .stops import StopMatcher

_Decoder = codecs.getincrementaldecoder("utf-8")


class TextAssembler:
    """Text of one job, growing.

    `token_bytes[id]` are the bytes of a token (none for an id beyond the table: such a padding row
    has no text). `hidden` are token ids that are counted and not shown: end tokens and stop ids.
    The text is the concatenation of all deltas.
    """

    __slots__ = ("_decoder", "_finished", "_hidden", "_kept", "_matcher", "_token_bytes", "tokens")

    def __init__(
        self, token_bytes: Sequence[bytes], *, stops: tuple[str, ...] = (), hidden: frozenset[int] = frozenset()
    ) -> None:
        self._token_bytes = token_bytes
        self._hidden = hidden
        self._matcher = StopMatcher(stops)
        self._decoder = _Decoder("replace")
        self._kept = b""  # the bytes that begin a stop string
        self._finished = False
        self.tokens = 0

    @property
    def stopped(self) -> bool:
        """Whether a stop string is complete: no further text comes."""
        return self._matcher.match is not None

    def push(self, tokens: Iterable[int]) -> str:
        """Take the next tokens; answers what they add to the text. Raises InvariantViolation after
        `finish`.
        """
        if self._finished:
            raise InvariantViolation("A token came after the end of its text.")
        safe: list[bytes] = []
        for token in tokens:
            self.tokens += 1
            if token not in self._hidden and 0 <= token < len(self._token_bytes):
                safe.append(self._take(self._token_bytes[token]))
        return self._decoder.decode(b"".join(safe))

    def _take(self, piece: bytes) -> bytes:
        if self._matcher.match is not None:
            return b""
        if self._matcher.push(piece):
            match = self._matcher.match
            assert match is not None
            # All bytes before `kept` were let go, so the cut lies within kept + piece.
            whole = self._kept + piece
            ahead = self._matcher.seen - len(self._kept)
            self._kept = b""
            return whole[: match.start - ahead]
        whole = self._kept + piece
        cut = len(whole) - self._matcher.held
        self._kept = whole[cut:]
        return whole[:cut]

    def finish(self) -> str:
        """The rest of the text: no further token comes. Idempotent: a second call adds nothing."""
        if self._finished:
            return ""
        self._finished = True
        rest, self._kept = self._kept, b""
        return self._decoder.decode(rest, True)
