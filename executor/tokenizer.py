"""Text to token ids and back, for the model in a folder.

Owns the reading of tokenizer.json, the bytes behind every token id, and chat prompts. Special tokens written in a user's text stay text: nobody
ends a turn or forges a role by typing its marker. It does not import torch, because the door uses it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tokenizers

from ..core.errors import InvalidInput, InvalidModel
from ..core.view import ChatMessage
from .chat_template import ChatTemplate
from .config import load_config
from .model_json import read_json

_SPACE = "\u2581"  # sentencepiece writes a space so
_BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_MARKS = range(0xF0000, 0xF0100)  # private use: stand-ins for special tokens that a user wrote


class ModelTokenizer:
    """The tokenizer of one model; thread-safe. `token_bytes[id]` is b"" for special tokens and ids that the tokenizer does not know."""

    def __init__(self, folder: str | Path) -> None:
        """Raises InvalidModel for a folder whose config or tokenizer cannot be used."""
        path = Path(folder)
        config = load_config(path)
        raw = read_json(path, "tokenizer.json")
        # One instance takes special tokens in the text for text, the other one for what they are; flags of a shared one would race.
        self._plain, self._template_aware = _load(path), _load(path)
        self._plain.encode_special_tokens = True
        self.vocab_size = config.vocab_size
        self.end_tokens = frozenset(config.eos_ids)
        added = self._plain.get_added_tokens_decoder()
        # An empty prompt holds what is put around every one, which the vocabulary need not list.
        known = [*self._plain.get_vocab(with_added_tokens=True).values(), *self.encode("")]
        if max(known, default=-1) >= config.vocab_size:
            raise InvalidModel(
                f"The tokenizer knows token {max(known)}, the model only {config.vocab_size} tokens; take the tokenizer that belongs to the model.",
                field="tokenizer.json",
                limit=f"0..{config.vocab_size - 1}",
            )
        self._specials = {token.content for token in added.values() if token.special and token.content}
        self.token_bytes: Sequence[bytes] = _token_bytes(self._plain, _is_byte_level(raw), config.vocab_size)
        settings = read_json(path, "tokenizer_config.json", required=False)
        self._template = _chat_template(path, settings)

    def encode(self, text: str) -> list[int]:
        """Token ids of a prompt, with the begin token where the model has one. Raises InvalidInput for text that is no valid Unicode."""
        return self._encode(self._plain, text, add_special_tokens=True)

    def encode_chat(self, messages: Sequence[ChatMessage]) -> list[int]:
        """Token ids of a conversation by the model's template, up to where the answer begins.

        Raises InvalidInput when the model has no template, or the template refuses the conversation.
        """
        if self._template is None:
            raise InvalidInput("This model has no chat template; send text or token ids.", field="messages")
        texts = [text for message in messages for text in (message.role, message.content)]
        marks = self._marks(texts)
        shielded = [{"role": _shield(m.role, marks), "content": _shield(m.content, marks)} for m in messages]
        rendered = self._template.render(shielded)
        if not marks:
            return self._encode(self._template_aware, rendered, add_special_tokens=False)
        written = {mark: special for special, mark in marks.items()}
        ids: list[int] = []
        for part in re.split(f"([{''.join(written)}]+)", rendered):
            plain = bool(part) and part[0] in written
            text = "".join(written[mark] for mark in part) if plain else part
            ids += self._encode(self._plain if plain else self._template_aware, text, add_special_tokens=False)
        return ids

    def _marks(self, texts: Sequence[str]) -> dict[str, str]:
        """A stand-in character for each special token that occurs in the texts, longest first; one that occurs in none of them."""
        present = sorted((s for s in self._specials if any(s in text for text in texts)), key=lambda s: (-len(s), s))
        if not present:
            return {}
        unused = [chr(code) for code in _MARKS if not any(chr(code) in text for text in texts)]
        if len(unused) < len(present):
            raise InvalidInput(
                "The messages hold too many private-use characters beside special tokens.", field="messages"
            )
        return dict(zip(present, unused, strict=False))

    @staticmethod
    def _encode(tokenizer: tokenizers.Tokenizer, text: str, *, add_special_tokens: bool) -> list[int]:
        try:
            return list(tokenizer.encode(text, add_special_tokens=add_special_tokens).ids)
        except (UnicodeEncodeError, TypeError) as error:  # the library says TypeError
            raise InvalidInput("The text holds a lone surrogate, which is no character.", field="text") from error


def _shield(text: str, marks: Mapping[str, str]) -> str:
    for special, mark in marks.items():
        text = text.replace(special, mark)
    return text


def _load(folder: Path) -> tokenizers.Tokenizer:
    try:
        tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    except Exception as error:
        raise InvalidModel(
            "tokenizer.json is damaged, or made for a newer tokenizers library than the installed one.",
            field="tokenizer.json",
        ) from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _is_byte_level(raw: Mapping[str, Any]) -> bool:
    """True for byte-level BPE, false for sentencepiece with byte fallback. Raises InvalidModel for anything else."""
    decoder = raw.get("decoder") or {}
    parts = decoder.get("decoders", [decoder]) if isinstance(decoder, dict) else []
    kinds = {part.get("type") for part in parts if isinstance(part, dict)}
    if "ByteLevel" in kinds:
        return True
    if kinds & {"ByteFallback", "Metaspace"}:
        return False
    raise InvalidModel(
        "The tokenizer is neither byte-level BPE nor sentencepiece with byte fallback.",
        field="tokenizer.json",
        limit="ByteLevel or ByteFallback",
    )


def _token_bytes(tokenizer: tokenizers.Tokenizer, byte_level: bool, vocab_size: int) -> tuple[bytes, ...]:
    table = [b""] * vocab_size
    letters = _byte_letters()
    for token, index in tokenizer.get_vocab(with_added_tokens=False).items():
        table[index] = _byte_level_bytes(token, letters) if byte_level else _sentencepiece_bytes(token)
    for index, added in tokenizer.get_added_tokens_decoder().items():
        table[index] = b"" if added.special else added.content.encode("utf-8")
    return tuple(table)


def _byte_level_bytes(token: str, letters: Mapping[str, int]) -> bytes:
    if all(letter in letters for letter in token):
        return bytes(letters[letter] for letter in token)
    return token.encode("utf-8")


def _sentencepiece_bytes(token: str) -> bytes:
    single = _BYTE_TOKEN.fullmatch(token)
    return bytes([int(single[1], 16)]) if single else token.replace(_SPACE, " ").encode("utf-8")


def _byte_letters() -> dict[str, int]:
    """The letter that byte-level BPE writes for each byte (GPT-2): printable Latin-1 as itself, the others from U+0100 on, in order."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(0x100 + i): byte for i, byte in enumerate(others)}


def _chat_template(folder: Path, settings: Mapping[str, Any]) -> ChatTemplate | None:
    source = settings.get("chat_template")
    file = folder / "chat_template.jinja"
    if file.is_file():
        try:
            source = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidModel("chat_template.jinja cannot be read.", field="chat_template.jinja") from error
    if isinstance(source, list):
        named = {entry.get("name"): entry.get("template") for entry in source if isinstance(entry, dict)}
        source = named.get("default")
    if source is None:
        return None
    if not isinstance(source, str):
        raise InvalidModel("chat_template must be text.", field="chat_template")
    special = {}
    for name, value in settings.items():
        content = value.get("content") if isinstance(value, dict) else value
        if name.endswith("_token") and isinstance(content, str):
            special[name] = content
    return ChatTemplate(source, special)
