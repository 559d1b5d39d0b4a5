"""Text to token ids and back, for the model in a folder.

Owns encoding, the bytes behind every token id, and chat prompts. Special tokens written in a user's
text stay text: nobody ends a turn or forges a role by typing its marker. A text that cannot fit is
refused before it is encoded, and what is encoded leaves the interpreter to other threads meanwhile.
It does not import torch, because the door uses it.
"""

from __future__ import annotations

import itertools
import queue
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import tokenizers

from ...core.errors import InvalidInput, InvalidModel, SkipjoinError, too_long
from ...core.view import ChatMessage
from ..config import load_config
from .control_tokens import ControlTokens, Marks
from .renderer import MOST_CHARACTERS, RenderBounds, RenderedTooLong, Renderer
from .token_cover import TokenCover, byte_letters, cover_of
from .tokenizer_files import TokenizerFiles, read_tokenizer_files

RENDERERS = 2
"""Processes for templates: a conversation that takes long leaves one to the others."""
_SPACE = "\u2581"  # sentencepiece writes a space so
_BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_AT_A_TIME = 1024
_GUARDS = "\n\x01\x02\x03\x04\x05\x06\x07"


@dataclass(frozen=True, slots=True)
class Rendered:
    """A conversation as the template wrote it, with marks around special tokens that people wrote."""

    text: str
    marks: Marks | None


class ModelTokenizer:
    """The tokenizer of one model; thread-safe. `token_bytes[id]` is b"" for special tokens and ids
    that the tokenizer does not know.
    """

    def __init__(self, folder: str | Path, bounds: RenderBounds | None = None) -> None:
        """`bounds` are those of a template's rendering. Raises InvalidModel for a folder whose
        config or tokenizer cannot be used.
        """
        path = Path(folder)
        config = load_config(path)
        files = read_tokenizer_files(path, config.vocab_size)
        # One instance takes special tokens in the text for text, the other one for what they are;
        # flags of a shared one would race.
        self._plain, self._aware = files.build(), files.build()
        self._plain.encode_special_tokens = True
        self._aware.encode_special_tokens = files.split_special
        self.vocab_size = config.vocab_size
        self.end_tokens = frozenset(config.eos_ids)
        self._check_known()
        self._byte_level = _is_byte_level(files.raw)
        self._adds_prefix = _adds_prefix(files.raw)
        self.token_bytes: Sequence[bytes] = _token_bytes(self._plain, self._byte_level, config.vocab_size)
        added = list(self._plain.get_added_tokens_decoder().values())
        self._cover = cover_of(files.raw, [token for token in added if not token.special])
        self._chat_cover = cover_of(files.raw, added)
        self._control = _control_tokens(files, added)
        self._no_chat = files.no_chat
        self._renderers: queue.LifoQueue[Renderer] = queue.LifoQueue()
        self._all_renderers = [
            Renderer(files.template, files.named, bounds or RenderBounds())
            for _ in range(RENDERERS)
            if files.template is not None
        ]
        for renderer in self._all_renderers:
            self._renderers.put(renderer)

    def _check_known(self) -> None:
        """Raise InvalidModel for tokens of the vocabulary, or around every prompt, that the model
        does not have.

        An added token may lie beyond: it is refused where a prompt holds it.
        """
        # An empty prompt holds what is put around every one, which the vocabulary need not list.
        known = [*self._plain.get_vocab(with_added_tokens=False).values(), *self._plain.encode("").ids]
        if max(known, default=-1) >= self.vocab_size:
            raise InvalidModel(
                f"The tokenizer knows token {max(known)}, the model only {self.vocab_size} tokens; take the "
                "tokenizer that belongs to the model.",
                field="tokenizer.json",
                limit=f"0..{self.vocab_size - 1}",
            )

    def token_name(self, token: int) -> str | None:
        """What the vocabulary calls a token; None for an id that it does not know."""
        return self._plain.id_to_token(token)

    def check_size(self, text: str, most_tokens: int) -> None:
        """Without encoding it: raise NeverFits for a text that has more tokens however it is
        encoded, InvalidInput for a lone surrogate.
        """
        self._refuse_long(self._cover, text, most_tokens, "text")

    def encode(self, text: str, most_tokens: int | None = None) -> list[int]:
        """Token ids of a prompt, with the begin token where the model has one.

        Raises InvalidInput for text that is no valid Unicode, NeverFits for more than
        `most_tokens`.
        """
        self._refuse_long(self._cover, text, most_tokens, "text")
        (encoding,) = _encoded(self._plain, [text], "text", add_special_tokens=True)
        return _ids([encoding], most_tokens, "text")

    def encode_chat(self, messages: Sequence[ChatMessage], most_tokens: int | None = None) -> list[int]:
        """Token ids of a conversation by the model's template, up to where the answer begins.
        Raises as `render` and `encode_rendered` do.
        """
        return self.encode_rendered(self.render(messages, most_tokens), most_tokens)

    def check_chat(self) -> None:
        """Have the template compiled. Raises InvalidInput saying why there is no chat, Unavailable
        when no process can be started.
        """
        with self._renderer() as renderer:
            renderer.start()

    def render(self, messages: Sequence[ChatMessage], most_tokens: int | None = None) -> Rendered:
        """A conversation by the model's template, in a process of its own.

        Raises InvalidInput when the model has no template, or the template refuses the conversation
        or goes beyond its bounds, NeverFits for more text than `most_tokens` can be, Unavailable
        when no process can be started now.
        """
        if not self._all_renderers:
            raise InvalidInput(self._no_chat, field="messages")
        texts, marks = self._control.mark([text for message in messages for text in _texts(message)])
        given = iter(texts)
        told = [{name: next(given) for name in _names(message)} for message in messages]
        most = MOST_CHARACTERS
        cover = self._chat_cover
        if marks is None and most_tokens is not None and cover.most_bytes is not None and not cover.spaces_free:
            most = min(most, int(most_tokens * cover.most_bytes))
        try:
            with self._renderer() as renderer:
                return Rendered(renderer.render(told, most), marks)
        except RenderedTooLong:
            if most_tokens is None:
                raise InvalidInput(
                    "The chat template makes too much text of this conversation.",
                    field="messages",
                    limit=f"{most} characters",
                ) from None
            raise too_long(most_tokens + 1, most_tokens + 1, "messages", at_least=True) from None

    def encode_rendered(self, rendered: Rendered, most_tokens: int | None = None) -> list[int]:
        """Token ids of a rendered conversation. Raises InvalidInput for text that is no valid
        Unicode, NeverFits for more than `most_tokens`.
        """
        if rendered.marks is None:
            self._refuse_long(self._chat_cover, rendered.text, most_tokens, "messages")
            found = _encoded(self._aware, [rendered.text], "messages", add_special_tokens=False)
            return _ids(found, most_tokens, "messages")
        ids: list[int] = []
        literal: dict[str, list[int]] = {}
        fewest = 0
        for slice_ in _slices(rendered.marks.parts(rendered.text)):
            fewest += sum(1 if marked else _fewest(self._chat_cover, text, "messages") for text, marked in slice_)
            if most_tokens is not None and fewest > most_tokens:
                raise too_long(fewest, most_tokens + 1, "messages", at_least=True)
            encoded = iter(
                self._encoded_parts([text for text, marked in slice_ if not marked], first=not ids and not slice_[0][1])
            )
            for text, marked in slice_:
                if marked and text not in literal:
                    literal[text] = self._literal_ids(text)
                ids += literal[text] if marked else next(encoded)
            if most_tokens is not None and len(ids) > most_tokens:
                raise too_long(len(ids), most_tokens + 1, "messages", at_least=True)
        return ids

    def _encoded_parts(self, texts: list[str], *, first: bool) -> list[list[int]]:
        """Ids of parts from the middle of a text, but for the `first`, with what the template wrote
        for what it is.
        """
        guard, guard_ids = self._guard
        guarded = [text if first and not at else guard + text for at, text in enumerate(texts)]
        found = [encoding.ids for encoding in _encoded(self._aware, guarded, "messages", add_special_tokens=False)]
        for at, ids in enumerate(found):
            if not guard or (first and not at):
                continue
            if ids[: len(guard_ids)] == guard_ids:
                found[at] = ids[len(guard_ids) :]
            else:  # the guard grew together with what follows
                found[at] = _encoded(self._aware, [texts[at]], "messages", add_special_tokens=False)[0].ids
        return found

    def close(self) -> None:
        """End the processes of the template; idempotent."""
        for renderer in self._all_renderers:
            renderer.close()

    @contextmanager
    def _renderer(self) -> Iterator[Renderer]:
        if not self._all_renderers:
            raise InvalidInput(self._no_chat, field="messages")
        renderer = self._ready(self._renderers.get())
        try:
            yield renderer
        finally:
            self._give_back(renderer)

    def _ready(self, renderer: Renderer) -> Renderer:
        """Another one, where this one has to start first and the other has not."""
        if not renderer.waits_to_start:
            return renderer
        try:
            other = self._renderers.get_nowait()
        except queue.Empty:
            return renderer
        if other.waits_to_start:
            self._renderers.put(other)
            return renderer
        self._give_back(renderer)
        return other

    def _give_back(self, renderer: Renderer) -> None:
        """At once, or when its process has started anew: a conversation takes what is ready, and
        none waits for the start while another is.
        """
        if not renderer.waits_to_start:
            self._renderers.put(renderer)
            return

        def start() -> None:
            try:
                with suppress(SkipjoinError):  # the next conversation tries again, and is told
                    renderer.start()
            finally:
                self._renderers.put(renderer)

        try:
            threading.Thread(target=start, name="skipjoin-renderer", daemon=True).start()
        except RuntimeError:  # no thread is to be had
            self._renderers.put(renderer)

    def _refuse_long(self, cover: TokenCover, text: str, most_tokens: int | None, field: str) -> None:
        """Raise NeverFits for a text that has too many tokens however it is encoded, InvalidInput
        for a lone surrogate.
        """
        if most_tokens is not None and (fewest := _fewest(cover, text, field)) > most_tokens:
            raise too_long(fewest, most_tokens + 1, field, at_least=True)

    @cached_property
    def _guard(self) -> tuple[str, list[int]]:
        """A character that takes the space put before a text, so that a text from the middle gets
        none, and its ids; "" where none is put.
        """
        if not self._adds_prefix:
            return "", []
        letters = {chr(byte): letter for letter, byte in byte_letters().items()} if self._byte_level else {}
        longer = [token for token in self._plain.get_vocab(with_added_tokens=True) if len(token) > 1]
        for guard in _GUARDS:
            if not any(letters.get(guard, guard) in token for token in longer):
                break
        return guard, self._aware.encode(guard, add_special_tokens=False).ids

    def _literal_ids(self, text: str) -> list[int]:
        """Ids of an added token's text as text, from the middle of one."""
        own = self._plain.token_to_id(text)
        ids = self._without_added(text)
        if own not in ids:
            return ids
        return [token for character in text for token in self._without_added(character)]

    def _without_added(self, text: str) -> list[int]:
        guard, _ = self._guard
        guard_ids = self._pipeline(guard) if guard else []
        ids = self._pipeline(guard + text)
        return ids[len(guard_ids) :] if ids[: len(guard_ids)] == guard_ids else self._pipeline(text)

    def _pipeline(self, text: str) -> list[int]:
        """Ids by normaliser, pre-tokenizer and model, without added tokens."""
        normalizer: Any = self._plain.normalizer
        splitter: Any = self._plain.pre_tokenizer
        if normalizer is not None:
            text = normalizer.normalize_str(text)
        pieces = [text] if splitter is None else [piece for piece, _ in splitter.pre_tokenize_str(text)]
        return [token.id for piece in pieces for token in self._plain.model.tokenize(piece)]


def _slices(parts: Iterator[tuple[str, bool]]) -> Iterator[list[tuple[str, bool]]]:
    """Some at a time: a call of the library with very many texts would hold the interpreter."""
    while slice_ := list(itertools.islice(parts, _AT_A_TIME)):
        yield slice_


def _names(message: ChatMessage) -> tuple[str, ...]:
    return ("role", "content") if message.name is None else ("role", "content", "name")


def _texts(message: ChatMessage) -> list[str]:
    return [getattr(message, name) for name in _names(message)]


def _no_character(field: str) -> InvalidInput:
    return InvalidInput("The text holds a lone surrogate, which is no character.", field=field)


def _fewest(cover: TokenCover, text: str, field: str) -> int:
    """Tokens that a text has at least. Raises InvalidInput for a lone surrogate."""
    try:
        return cover.fewest_tokens(text)
    except UnicodeEncodeError:
        raise _no_character(field) from None


def _encoded(
    tokenizer: tokenizers.Tokenizer, texts: list[str], field: str, *, add_special_tokens: bool
) -> list[tokenizers.Encoding]:
    """Encodings; the interpreter is free meanwhile, which it is not in `Tokenizer.encode`."""
    try:
        return tokenizer.encode_batch_fast(texts, add_special_tokens=add_special_tokens)
    except (UnicodeEncodeError, TypeError) as error:  # the library says TypeError
        raise _no_character(field) from error


def _ids(encodings: Sequence[tokenizers.Encoding], most_tokens: int | None, field: str) -> list[int]:
    """The ids, which are counted before a list is made of them."""
    count = sum(map(len, encodings))
    if most_tokens is not None and count > most_tokens:
        raise too_long(count, most_tokens + 1, field)
    return [token for encoding in encodings for token in encoding.ids]


def _control_tokens(files: TokenizerFiles, added: Sequence[tokenizers.AddedToken]) -> ControlTokens:
    """Tokens that a user must not be able to write: the special ones, and others that the template
    itself writes.
    """
    special = {token.content for token in added if token.special}
    others = {token.content for token in added if not token.special and not token.content.isspace()}
    if files.template is not None and others:
        source = files.template
        written = ControlTokens(others).find([source])[0]
        special |= (files.control & others) | {source[first:behind] for first, behind in written}
    return ControlTokens(special)


def _is_byte_level(raw: Mapping[str, Any]) -> bool:
    """True for byte-level BPE, false for sentencepiece with byte fallback. Raises InvalidModel for
    anything else.
    """
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


def _adds_prefix(raw: Mapping[str, Any]) -> bool:
    """Whether the pipeline puts a space before a text."""

    def adds(part: Any) -> bool:
        if not isinstance(part, dict):
            return False
        if part.get("type") == "Sequence":
            return any(map(adds, [*part.get("normalizers", []), *part.get("pretokenizers", [])]))
        never = part.get("prepend_scheme") == "never" or part.get("add_prefix_space") is False
        return part.get("type") == "Prepend" or (part.get("type") in ("Metaspace", "ByteLevel") and not never)

    return adds(raw.get("normalizer")) or adds(raw.get("pre_tokenizer"))


def _token_bytes(tokenizer: tokenizers.Tokenizer, byte_level: bool, vocab_size: int) -> tuple[bytes, ...]:
    table = [b""] * vocab_size
    letters = byte_letters()
    for token, index in tokenizer.get_vocab(with_added_tokens=False).items():
        table[index] = _byte_level_bytes(token, letters) if byte_level else _sentencepiece_bytes(token)
    for index, added in tokenizer.get_added_tokens_decoder().items():
        if index < vocab_size:
            table[index] = b"" if added.special else added.content.encode("utf-8")
    return tuple(table)


def _byte_level_bytes(token: str, letters: Mapping[str, int]) -> bytes:
    if all(letter in letters for letter in token):
        return bytes(letters[letter] for letter in token)
    return token.encode("utf-8")


def _sentencepiece_bytes(token: str) -> bytes:
    single = _BYTE_TOKEN.fullmatch(token)
    return bytes([int(single[1], 16)]) if single else token.replace(_SPACE, " ").encode("utf-8")
