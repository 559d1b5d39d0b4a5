"""Special tokens that stand in what people wrote.

Owns finding them and marking them, so that they stay text when a template has written its own
around them. A marked token stands between two characters of the private use area that no text
holds; a template sees the token as it was written. It knows neither template nor model; tokenizer
marks with it before a conversation is rendered and takes the rendered text apart by it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import tokenizers
from tokenizers import AddedToken

from ...core.errors import InvalidInput

_PRIVATE = range(0xE000, 0xF900)
_FEW = 64
_WINDOW = 2**17


@dataclass(frozen=True, slots=True)
class Marks:
    """The two characters around a marked token, and the tokens that were marked."""

    begin: str
    end: str
    found: frozenset[str]

    def parts(self, rendered: str) -> Iterator[tuple[str, bool]]:
        """The text between the marks, in order, with whether it is a marked token. A mark that a
        template tore off still parts the text.

        One after the other, so that other threads come in between.
        """
        after, before = 0, ""
        for mark in re.finditer(f"[{self.begin}{self.end}]", rendered):
            text = rendered[after : mark.start()]
            if text:
                yield text, before == self.begin and mark[0] == self.end and text in self.found
            after, before = mark.end(), mark[0]
        if after < len(rendered):
            yield rendered[after:], False


class ControlTokens:
    """A set of tokens to be found in texts; thread-safe."""

    def __init__(self, contents: Iterable[str]) -> None:
        self._contents = frozenset(contents)
        self._lengths = sorted({len(content) for content in self._contents}, reverse=True)
        self._beginnings = re.compile(
            "|".join(sorted({re.escape(content[:2]) for content in self._contents})) or "(?!)"
        )
        # A tokenizer without a vocabulary of its own knows nothing but these, and says where they
        # are.
        self._finder = tokenizers.Tokenizer(tokenizers.models.BPE())
        self._finder.add_tokens([AddedToken(content, normalized=False) for content in self._contents])

    def find(self, texts: Sequence[str]) -> list[list[tuple[int, int]]]:
        """Where tokens stand in each text, the longest first where several begin. Raises
        InvalidInput for a lone surrogate.
        """
        found: dict[int, list[tuple[int, int]]] = {}
        hard = []
        for number, text in enumerate(texts):
            few = self._few(text)
            if few is None:
                hard.append(number)
            elif few:
                found[number] = few
        try:
            for number in hard:
                found[number] = self._many(texts[number])
        except (UnicodeEncodeError, TypeError) as error:  # the library says TypeError
            raise InvalidInput("The text holds a lone surrogate, which is no character.", field="messages") from error
        return [found.get(number, []) for number in range(len(texts))]

    def _few(self, text: str) -> list[tuple[int, int]] | None:
        """Where tokens stand in a text with few places that look like the beginning of one, which
        most have; None for many.
        """
        found: list[tuple[int, int]] = []
        looked, behind = 0, 0
        for first in self._candidates(text):
            looked += 1
            if looked > _FEW:
                return None
            if first < behind:
                continue
            for length in self._lengths:
                if text[first : first + length] in self._contents:
                    behind = first + length
                    found.append((first, behind))
                    break
        return found

    def _many(self, text: str) -> list[tuple[int, int]]:
        """Where tokens stand in any text. A window at a time: the library takes a hundred bytes for
        each of the text's.
        """
        found: list[tuple[int, int]] = []
        window = 0
        while window < len(text):
            behind = window + _WINDOW
            (encoding,) = self._finder.encode_batch(
                [text[window : behind + self._lengths[0]]], add_special_tokens=False
            )
            places = [(window + first, window + end) for first, end in encoding.offsets] if len(encoding) else []
            found += [place for place in places if place[0] < behind]
            window = max(behind, found[-1][1] if found else 0)
        return found

    def _candidates(self, text: str) -> Iterator[int]:
        """Where something begins as a token does. A window at a time, so that other threads come in
        between.
        """
        for window in range(0, len(text), _WINDOW):
            behind = window + _WINDOW
            for place in self._beginnings.finditer(text, window, behind + 1):
                if place.start() < behind:
                    yield place.start()

    def mark(self, texts: Sequence[str]) -> tuple[list[str], Marks | None]:
        """The texts with their tokens marked; None for the marks where no text holds any. Raises
        InvalidInput where no characters are left for it.
        """
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
