"""Which tokens end a job.

Owns putting together what config.json, generation_config.json and the tokenizer's files say of it,
and the sentences for a person where they disagree. It does not know how a job ends; config reads
the answer into `ModelConfig.eos_ids`, which door and engine both take.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..model_json import read_json
from .tokenizer_class import class_of
from .tokenizer_files import tokenizer_settings


@dataclass(frozen=True, slots=True)
class TokenizerEnd:
    """The tokenizer's end token. `of_class`: the class that names it, where no file of the
    tokenizer does; else "".

    `id` may be a token that the model does not have.
    """

    id: int
    of_class: str = ""

    @property
    def source(self) -> str:
        """Who says so, for a person."""
        return f"the tokenizer's class {self.of_class}" if self.of_class else "the tokenizer"


@dataclass(frozen=True, slots=True)
class StatedEnds:
    """What each source says. `config` None: config.json leaves the field out; (): it says that
    there is none.

    `family` is what Transformers takes where a config.json of this family says nothing.
    """

    config: tuple[int, ...] | None
    generation: tuple[int, ...]
    tokenizer: TokenizerEnd | None
    family: int | None


@dataclass(frozen=True, slots=True)
class Ends:
    """The tokens that end a job, ascending, and what a person should know about them."""

    ids: tuple[int, ...]
    remarks: tuple[str, ...]


def choose_ends(stated: StatedEnds, vocab_size: int) -> Ends:
    """All that any file names: fine-tunes often write a new one to one file only, and a job that
    misses it never ends.
    """
    config = stated.config or ()
    remarks = []
    end = stated.tokenizer
    if end is not None and end.id >= vocab_size:
        if not end.of_class:
            remarks.append(
                f"The tokenizer's end token {end.id} is none of the model's {vocab_size} tokens, and is not heeded."
            )
        end = None
    if config or stated.generation or (end is not None and not end.of_class):
        ids = {*config, *stated.generation, *(() if end is None else (end.id,))}
        remarks += _disagreement(config, stated.generation, end, ids)
    else:
        taken = {} if end is None else {end.id: end.source}
        if stated.config is None and stated.family is not None and stated.family < vocab_size:
            taken[stated.family] = "Transformers' default for this family"
        ids = set(taken)
        remarks.append(_unnamed(taken))
    return Ends(tuple(sorted(ids)), tuple(remarks))


def _unnamed(taken: Mapping[int, str]) -> str:
    """A sentence where no file names an end token. `taken`: those that end a job nevertheless, and
    who says so.
    """
    if not taken:
        return (
            "No file of the model names an end token: jobs end at max_new_tokens or a stop string. Set "
            "eos_token_id in generation_config.json."
        )
    said = "; ".join(f"{token} is taken, by {source}" for token, source in sorted(taken.items()))
    return f"No file of the model names an end token; {said}."


def _disagreement(
    config: tuple[int, ...], generation: tuple[int, ...], tokenizer: TokenizerEnd | None, ids: set[int]
) -> list[str]:
    """A sentence where the file that decides in Transformers lacks an end token that another file
    names.
    """
    if ids == set(generation or config):
        return []
    said = [
        f"{name} says {', '.join(map(str, sorted(tokens))) or 'none'}"
        for name, tokens in (
            ("config.json", config),
            ("generation_config.json", generation),
            ("the tokenizer", ()) if tokenizer is None else (tokenizer.source, (tokenizer.id,)),
        )
    ]
    return [f"End tokens differ: {'; '.join(said)}. Each of them ends a job: {', '.join(map(str, sorted(ids)))}."]


def tokenizer_end(folder: Path, config: Mapping[str, Any]) -> TokenizerEnd | None:
    """The tokenizer's end token: its files' word, and where they leave it out that of its class,
    which `config`, config.json, may name.

    None where there is none. Raises InvalidModel for a file that is no JSON object.
    """
    settings = tokenizer_settings(folder)
    extra = settings.get("extra_special_tokens")
    stated = {**settings, **(extra if isinstance(extra, dict) else {})}
    content, of_class = _content(stated.get("eos_token")), ""
    if "eos_token" not in stated:
        kind = class_of(read_json(folder, "tokenizer.json", required=False), settings, config)
        if kind is not None:
            content, of_class = kind.tokens.get("eos_token"), kind.name
    if content is None:
        return None
    added = settings.get("added_tokens_decoder")
    for index, token in added.items() if isinstance(added, dict) else ():
        if _content(token) == content and index.isdecimal() and len(index) < 10:
            return TokenizerEnd(int(index), of_class)
    found = _id_in(read_json(folder, "tokenizer.json", required=False), content)
    return None if found is None else TokenizerEnd(found, of_class)


def _content(token: Any) -> str | None:
    """The text of a token, which stands there alone or in an object."""
    content = token.get("content") if isinstance(token, dict) else token
    return content if isinstance(content, str) and content else None


def _id_in(tokenizer: dict[str, Any], content: str) -> int | None:
    """By tokenizer.json: among the added tokens first, then in the vocabulary."""
    added = tokenizer.get("added_tokens")
    for token in added if isinstance(added, list) else ():
        if isinstance(token, dict) and token.get("content") == content and type(token.get("id")) is int:
            return _known(token["id"])
    model = tokenizer.get("model")
    vocabulary = model.get("vocab") if isinstance(model, dict) else None
    if isinstance(vocabulary, dict):
        return _known(vocabulary.get(content))
    if isinstance(vocabulary, list):  # Unigram: [text, score], by id
        texts = (entry[0] if isinstance(entry, list) and entry else None for entry in vocabulary)
        return next((index for index, text in enumerate(texts) if text == content), None)
    return None


def _known(index: Any) -> int | None:
    return index if type(index) is int and 0 <= index < 2**31 else None
