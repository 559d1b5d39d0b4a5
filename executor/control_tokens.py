"""Special tokens that stand in what people wrote.

Owns finding them and marking them, so that they stay text when a template has written its own around them. A marked token stands between two
characters of the private use area that no text holds; a template sees the token as it was written. It knows neither template nor model;
tokenizer marks with it before a conversation is rendered and takes the rendered text apart by it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import tokenizers
from tokenizers import AddedToken

from ..core.errors import InvalidInput

_PRIVATE = range(0xE000, 0xF900)


@dataclass(frozen=True, slots=True)
class Marks:
    """The two characters around a marked token, and the tokens that were marked."""

    begin: str
    end: str
    found: frozenset[str]

    def parts(self, rendered: str) -> list[tuple[str, bool]]:
        """The text between the marks, in order, with whether it is a marked token. A mark that a template tore off still parts the text."""
        pieces = re.split(f"([{self.begin}{self.end}])", rendered)
        parts = []
        for at in range(0, len(pieces), 2):
            marked = 0 < at < len(pieces) - 1 and pieces[at - 1] == self.begin and pieces[at + 1] == self.end
            if pieces[at]:
                parts.append((pieces[at], marked and pieces[at] in self.found))
        return parts


class ControlTokens:
    """A set of tokens to be found in texts; thread-safe."""

    def __init__(self, contents: Iterable[str]) -> None:
        # A tokenizer without a vocabulary of its own knows nothing but these, and says where they are.
        self._finder = tokenizers.Tokenizer(tokenizers.models.BPE())
        self._finder.add_tokens([AddedToken(content, normalized=False) for content in contents])

    def find(self, texts: Sequence[str]) -> list[list[tuple[int, int]]]:
        """Where tokens stand in each text, the longest first where several begin. Raises InvalidInput for a lone surrogate."""
        try:
            found = self._finder.encode_batch(list(texts), add_special_tokens=False)
        except (UnicodeEncodeError, TypeError) as error:  # the library says TypeError
            raise InvalidInput("The text holds a lone surrogate, which is no character.", field="messages") from error
        return [encoding.offsets if len(encoding) else [] for encoding in found]

    def mark(self, texts: Sequence[str]) -> tuple[list[str], Marks | None]:
        """The texts with their tokens marked; None for the marks where no text holds any. Raises InvalidInput where no characters are left for it."""
        places = self.find(texts)
        if not any(places):
            return list(texts), None
        unused = (chr(code) for code in _PRIVATE if not any(chr(code) in text for text in texts))
        begin, end = next(unused, None), next(unused, None)
        if begin is None or end is None:
            raise InvalidInput(
                "The messages hold too many private-use characters beside special tokens.", field="messages"
            )
        marked, found = [], set()
        for text, spans in zip(texts, places, strict=True):
            pieces, after = [], 0
            for first, behind in spans:
                found.add(text[first:behind])
                pieces += [text[after:first], begin, text[first:behind], end]
                after = behind
            marked.append("".join([*pieces, text[after:]]))
        return marked, Marks(begin, end, frozenset(found))
