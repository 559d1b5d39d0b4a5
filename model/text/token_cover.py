"""How much text one token can stand for, at most.

Owns a lower bound on the tokens of a text that costs no encoding: a long text is refused by it in
the time that it takes to count its bytes. The bound is never more than the text really has. Where a
tokenizer may swallow text without bound (a pattern replaced by nothing, unknown characters that
become one token), there is none, and only encoding tells. It knows tokenizer.json, no folder;
tokenizer asks it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tokenizers import AddedToken

_PIECE = 2**18
_BYTE_TOKEN = re.compile(r"<0x[0-9A-Fa-f]{2}>")
_COMPOSED = 6.0
"""Bytes of text per byte of its composed form: at most four characters of four bytes become one of
three, or three of them one of two.
"""
_LOWERED = 4.0
_SHRINKS = {"NFC": _COMPOSED, "NFKC": _COMPOSED, "NFD": _COMPOSED, "NFKD": _COMPOSED, "Lowercase": _LOWERED}
_KEEPS = {"Prepend", "ByteLevel", "Metaspace", "Digits", "UnicodeScripts"}
_SPACELESS = {"Strip", "Whitespace", "WhitespaceSplit", "BertPreTokenizer"}


@dataclass(frozen=True, slots=True)
class TokenCover:
    """`most_bytes` of text (UTF-8) lie behind a token at most; None: there is no bound.
    `spaces_free`: white space is not counted.
    """

    most_bytes: float | None
    spaces_free: bool = False

    def fewest_tokens(self, text: str) -> int:
        """Tokens that the text has at least. Raises UnicodeEncodeError for a lone surrogate."""
        if self.most_bytes is None:
            return 0
        size = 0
        for start in range(0, len(text), _PIECE):  # in pieces, so that other threads come in between
            piece = text[start : start + _PIECE]
            size += len(("".join(piece.split()) if self.spaces_free else piece).encode("utf-8"))
        return int(-(-size // self.most_bytes))


@dataclass(slots=True)
class _Found:
    """What the parts of a pipeline do to a text."""

    shrinks: float = 1.0
    spaces_free: bool = False
    bounded: bool = True
    byte_level: bool = False

    def part(self, part: Any) -> None:
        """Take one normaliser or pre-tokenizer in."""
        if part is None:
            return
        kind = part.get("type")
        if kind == "Sequence":
            for inner in [*part.get("normalizers", []), *part.get("pretokenizers", [])]:
                self.part(inner)
        elif kind in _SHRINKS:
            self.shrinks *= _SHRINKS[kind]
        elif kind == "Replace":
            self._replace(part.get("pattern", {}).get("String"), part.get("content"))
        elif kind in _SPACELESS:
            self.spaces_free = True
        elif kind in ("Split", "Punctuation"):
            self.bounded &= part.get("behavior") not in ("Removed", None)
        else:
            self.bounded &= kind in _KEEPS
            self.byte_level |= kind == "ByteLevel"

    def _replace(self, old: str | None, new: str | None) -> None:
        if old and new:
            self.shrinks *= max(1.0, len(old.encode()) / len(new.encode()))
        else:
            self.bounded = False


def cover_of(raw: Mapping[str, Any], matched: Iterable[AddedToken]) -> TokenCover:
    """The bound for a tokenizer.json, when these added tokens are recognised in a text."""
    found = _Found()
    try:
        found.part(raw.get("normalizer"))
        found.part(raw.get("pre_tokenizer"))
        longest = _longest(raw["model"], byte_level=found.byte_level)
    except (AttributeError, KeyError, TypeError):
        return TokenCover(None)  # a spelling that is not known here
    if longest is None or not found.bounded:
        return TokenCover(None)
    spaces_free = found.spaces_free
    for token in matched:
        longest = max(longest, len(token.content.encode("utf-8")))
        spaces_free = spaces_free or token.lstrip or token.rstrip
    return TokenCover(longest * found.shrinks, spaces_free)


def _longest(model: Mapping[str, Any], *, byte_level: bool) -> int | None:
    """Bytes of the longest token of the vocabulary; None where unknown characters have no token
    each.
    """
    vocab = model["vocab"]
    tokens = set(vocab) if isinstance(vocab, dict) else {entry[0] for entry in vocab}
    kind = model.get("type")
    if kind not in ("BPE", "Unigram") or model.get("continuing_subword_prefix") or model.get("end_of_word_suffix"):
        return None
    if byte_level:
        if not all(letter in tokens for letter in byte_letters()):
            return None
        return max(map(len, tokens))
    falls_back = model.get("byte_fallback") and all(f"<0x{byte:02X}>" in tokens for byte in range(256))
    one_unknown_each = kind == "BPE" and not model.get("fuse_unk") and model.get("unk_token") in tokens
    if not (falls_back or one_unknown_each):
        return None
    return max(4, *(len(token.encode("utf-8", "replace")) for token in tokens if not _BYTE_TOKEN.fullmatch(token)))


def byte_letters() -> dict[str, int]:
    """The letter that byte-level BPE writes for each byte (GPT-2): printable Latin-1 as itself, the
    others from U+0100 on, in order.
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(0x100 + i): byte for i, byte in enumerate(others)}
