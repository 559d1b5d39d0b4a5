"""The tokenizer files of a model folder, as Transformers 5 reads them.

Owns which file wins: named special tokens of tokenizer_config.json and special_tokens_map.json,
added tokens, the chat template's places, and the pipeline that a tokenizer's class makes. It bounds
them before anything is built of them. It does not encode; tokenizer does, of what this reads.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import AddedToken

from ...core.errors import InvalidModel
from ..model_json import read_json
from .tokenizer_class import TokenizerClass, class_of

MAX_ADDED_TOKENS = 2**17
MAX_TEMPLATE_CHARACTERS = 2**18
_MERGES_PER_TOKEN = 16
_STANDARD = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
_TEMPLATE_FILE = "chat_template.jinja"
_TEMPLATE_FOLDER = "additional_chat_templates"
_FLAGS = ("single_word", "lstrip", "rstrip", "normalized", "special")


@dataclass(frozen=True, slots=True)
class TokenizerFiles:
    """What a folder says. `named` are the named special tokens, as templates see them.

    `template` is None where chat is off, and `no_chat` says why.
    """

    raw: dict[str, Any]
    named: Mapping[str, str]
    control: frozenset[str]
    """Added tokens that are markers of turns by chat_control_tokens, though they are not special."""
    split_special: bool
    template: str | None
    no_chat: str
    _added: tuple[AddedToken, ...]
    _extra: tuple[AddedToken, ...]
    _class: TokenizerClass | None
    _text: str

    def build(self) -> tokenizers.Tokenizer:
        """The tokenizer, with every added token, without truncation and padding. Raises
        InvalidModel.
        """
        try:
            tokenizer = tokenizers.Tokenizer.from_str(self._text)
            tokenizer.no_truncation()
            tokenizer.no_padding()
            known = set(map(repr, tokenizer.get_added_tokens_decoder().values()))
            missing = [token for token in self._added if repr(token) not in known]
            there = {token.content for token in tokenizer.get_added_tokens_decoder().values()}
            there |= {token.content for token in missing}
            missing += [token for token in self._extra if token.content not in there]
            if missing:
                tokenizer.add_tokens(missing)
            if self._class is not None and self._class.adds_named:
                tokenizer.add_tokens([AddedToken(token, special=True) for token in self.named.values()])
        except Exception as error:  # the library has no type of its own
            raise InvalidModel(
                "tokenizer.json is damaged, or made for a newer tokenizers library than the installed one.",
                field="tokenizer.json",
            ) from error
        return tokenizer


def read_tokenizer_files(folder: Path, vocab_size: int) -> TokenizerFiles:
    """Read and bound them, for a model of so many tokens. Raises InvalidModel naming the file and
    what to do.
    """
    raw = read_json(folder, "tokenizer.json")
    settings = tokenizer_settings(folder)
    _check_sizes(raw, settings, vocab_size)
    kind = class_of(raw, settings, read_json(folder, "config.json"))
    tokens = dict(_named_tokens(settings, raw, kind))
    named = {name: token.content for name, token in tokens.items()}
    text = (folder / "tokenizer.json").read_text(encoding="utf-8")
    added = _added_tokens(folder, raw, settings, named)
    if kind is not None:
        raw = kind.applied(raw, settings, named)
        text = json.dumps(raw)
    extra = [*tokens.values(), *(token for value in _extra(settings) if (token := _token(value, special=True)))]
    template, no_chat = _chat_template(folder, settings)
    return TokenizerFiles(
        raw=raw,
        named=named,
        control=frozenset(_texts(settings.get("chat_control_tokens"))),
        split_special=settings.get("split_special_tokens") is True,
        template=template,
        no_chat=no_chat,
        _added=tuple(_marked_special(added, named)),
        _extra=tuple(_marked_special(extra, named)),
        _class=kind,
        _text=text,
    )


def tokenizer_settings(folder: Path) -> dict[str, Any]:
    """tokenizer_config.json with special_tokens_map.json: the latter wins, but beside an
    added_tokens_decoder it only fills what is missing.
    """
    settings = read_json(folder, "tokenizer_config.json", required=False)
    tokens = read_json(folder, "special_tokens_map.json", required=False)
    if isinstance(settings.get("added_tokens_decoder"), dict):
        return tokens | settings
    here, there = settings.get("extra_special_tokens"), tokens.get("extra_special_tokens")
    if isinstance(here, list) and isinstance(there, list):
        tokens = tokens | {"extra_special_tokens": [*here, *there]}
    return settings | tokens


def _check_sizes(raw: Mapping[str, Any], settings: Mapping[str, Any], vocab_size: int) -> None:
    """Raise InvalidModel for what would take long to build, before it is built."""
    model = raw.get("model")
    model = model if isinstance(model, dict) else {}
    bounded = (
        ("added tokens", raw.get("added_tokens"), MAX_ADDED_TOKENS),
        ("added tokens", settings.get("added_tokens_decoder"), MAX_ADDED_TOKENS),
        ("tokens", model.get("vocab"), vocab_size),
        ("merges", model.get("merges"), _MERGES_PER_TOKEN * vocab_size),
    )
    for what, values, most in bounded:
        if isinstance(values, list | dict) and len(values) > most:
            hint = "; take the tokenizer that belongs to the model" * (what != "added tokens")
            raise InvalidModel(
                f"The tokenizer has {len(values)} {what}, this model takes {most}{hint}.",
                field="tokenizer.json",
                limit=f"at most {most} {what}",
            )


def _named_tokens(
    settings: Mapping[str, Any], raw: Mapping[str, Any], kind: TokenizerClass | None
) -> Iterator[tuple[str, AddedToken]]:
    """The special tokens that have a name: the standard ones, what else is called ..._token, and
    extra ones given with names.
    """
    defaults: dict[str, Any] = dict(kind.tokens) if kind is not None else {}
    padding = raw.get("padding")
    if isinstance(padding, dict):
        defaults["pad_token"] = padding.get("pad_token")
    extra = settings.get("extra_special_tokens")
    stated = {**defaults, **settings, **(extra if isinstance(extra, dict) else {})}
    others = [name for name in stated if name not in _STANDARD and name.endswith("_token")]
    for name in [*_STANDARD, *others, *(extra if isinstance(extra, dict) else ())]:
        token = _token(stated.get(name), special=True)
        if token is not None:
            yield name, token


def _token(value: object, *, special: bool) -> AddedToken | None:
    """An added token as the files write it: text, or an object with its flags. None for anything
    else.
    """
    if isinstance(value, str):
        return AddedToken(value, special=special) if value else None
    if not isinstance(value, dict) or not isinstance(value.get("content"), str) or not value["content"]:
        return None
    flags = {name: value[name] for name in _FLAGS if isinstance(value.get(name), bool)}
    return AddedToken(value["content"], **(flags | ({"special": True} if special else {})))


def _extra(settings: Mapping[str, Any]) -> list[Any]:
    extra = settings.get("extra_special_tokens") or settings.get("additional_special_tokens")
    return extra if isinstance(extra, list) else []


def _texts(value: object) -> list[str]:
    return [text for text in value if isinstance(text, str)] if isinstance(value, list) else []


def _added_tokens(
    folder: Path, raw: Mapping[str, Any], settings: Mapping[str, Any], named: Mapping[str, str]
) -> list[AddedToken]:
    """Added tokens in the order of their ids: those of tokenizer_config.json where it has any, else
    added_tokens.json's and tokenizer.json's.
    """
    by_id: dict[int, AddedToken] = {}
    decoder = settings.get("added_tokens_decoder")
    if isinstance(decoder, dict):
        for index, value in decoder.items():
            token = _token(value, special=False)
            if token is None or not index.isdecimal():
                raise InvalidModel(
                    "added_tokens_decoder holds something else than tokens.", field="added_tokens_decoder"
                )
            by_id[int(index)] = token
        return [by_id[index] for index in sorted(by_id)]
    special = {*named.values(), *_texts(_extra(settings))}
    for content, index in read_json(folder, "added_tokens.json", required=False).items():
        if isinstance(index, int):
            by_id[index] = AddedToken(content, normalized=content not in special, special=content in special)
    for value in raw.get("added_tokens") or []:
        token = _token(value, special=False)
        if token is not None and isinstance(value.get("id"), int):
            by_id[value["id"]] = token
    return [by_id[index] for index in sorted(by_id)]


def _marked_special(tokens: list[AddedToken], named: Mapping[str, str]) -> Iterator[AddedToken]:
    """The tokens, each special that a name stands for."""
    names = set(named.values())
    for token in tokens:
        if token.content in names and not token.special:
            token.special = True
        yield token


def _chat_template(folder: Path, settings: Mapping[str, Any]) -> tuple[str | None, str]:
    """The template and "", or None and why there is none: chat is off then and everything else goes
    on. Raises InvalidModel for a damaged file.
    """
    source: object = settings.get("chat_template")
    files = sorted((folder / _TEMPLATE_FOLDER).glob("*.jinja")) if (folder / _TEMPLATE_FOLDER).is_dir() else []
    if (folder / _TEMPLATE_FILE).is_file():
        source = _read_template(folder / _TEMPLATE_FILE)
    elif files:
        source = next((_read_template(file) for file in files if file.stem == "default"), [])
    elif source is None:
        source = read_json(folder, "chat_template.json", required=False).get("chat_template")
    if isinstance(source, list):
        named = {entry.get("name"): entry.get("template") for entry in source if isinstance(entry, dict)}
        source = named.get("default")
    elif isinstance(source, dict):
        source = source.get("default")
    if source is None:
        return None, "This model has no chat template; send text or token ids."
    if not isinstance(source, str):
        raise InvalidModel("chat_template must be text.", field="chat_template")
    if len(source) > MAX_TEMPLATE_CHARACTERS:
        return None, (
            f"This model's chat template has {len(source)} characters, more than {MAX_TEMPLATE_CHARACTERS}; send "
            "text or token ids."
        )
    return source, ""


def _read_template(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidModel(f"{file.name} cannot be read.", field=file.name) from error
