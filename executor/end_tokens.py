"""Which tokens end a job.

Owns putting together what config.json, generation_config.json and the tokenizer's files say of it, and the sentences for a person where they
disagree. It does not know how a job ends; config reads the answer into `ModelConfig.eos_ids`, which door and engine both take.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .model_json import read_json
from .tokenizer_files import tokenizer_settings


@dataclass(frozen=True, slots=True)
class StatedEnds:
    """What each source says. `config` None: config.json leaves the field out; (): it says that there is none.

    `tokenizer` may be a token that the model does not have. `family` is what Transformers takes where a config.json of this family says nothing.
    """

    config: tuple[int, ...] | None
    generation: tuple[int, ...]
    tokenizer: int | None
    family: int | None


@dataclass(frozen=True, slots=True)
class Ends:
    """The tokens that end a job, ascending, and what a person should know about them."""

    ids: tuple[int, ...]
    remarks: tuple[str, ...]


def choose_ends(stated: StatedEnds, vocab_size: int) -> Ends:
    """All that any file names: fine-tunes often write a new one to one file only, and a job that misses it never ends."""
    config = stated.config or ()
    remarks = []
    tokenizer: tuple[int, ...] = ()
    if stated.tokenizer is not None and stated.tokenizer < vocab_size:
        tokenizer = (stated.tokenizer,)
    elif stated.tokenizer is not None:
        remarks.append(
            f"The tokenizer's end token {stated.tokenizer} is none of the model's {vocab_size} tokens, and is not heeded."
        )
    ids = {*config, *stated.generation, *tokenizer}
    if not ids and stated.config is None and stated.family is not None and stated.family < vocab_size:
        ids = {stated.family}
        remarks.append(
            f"No file of the model names an end token; {stated.family} is taken, as Transformers does for this family."
        )
    elif not ids:
        remarks.append(
            "No file of the model names an end token: jobs end at max_new_tokens or a stop string. Set eos_token_id in generation_config.json."
        )
    else:
        remarks += _disagreement(config, stated.generation, tokenizer, ids)
    return Ends(tuple(sorted(ids)), tuple(remarks))


def _disagreement(
    config: tuple[int, ...], generation: tuple[int, ...], tokenizer: tuple[int, ...], ids: set[int]
) -> list[str]:
    """A sentence where the file that decides in Transformers lacks an end token that another file names."""
    if ids == set(generation or config):
        return []
    said = [
        f"{name} says {', '.join(map(str, sorted(tokens))) or 'none'}"
        for name, tokens in (
            ("config.json", config),
            ("generation_config.json", generation),
            ("the tokenizer", tokenizer),
        )
    ]
    return [f"End tokens differ: {'; '.join(said)}. Each of them ends a job: {', '.join(map(str, sorted(ids)))}."]


def tokenizer_end(folder: Path) -> int | None:
    """The id of the tokenizer's end token; None where its files name none. Raises InvalidModel for a file that is no JSON object."""
    settings = tokenizer_settings(folder)
    content = _content(settings.get("eos_token"))
    if content is None:
        return None
    added = settings.get("added_tokens_decoder")
    for index, token in added.items() if isinstance(added, dict) else ():
        if _content(token) == content and index.isdecimal() and len(index) < 10:
            return int(index)
    return _id_in(read_json(folder, "tokenizer.json", required=False), content)


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
