"""The JSON files of a model folder, read so that nothing unchecked gets past.

Owns `read_json` and `Fields`: every file and number bounded, every refusal naming the field as the
folder spells it, and which fields were read. It does not know what the fields mean. config, rope
and windows read a model's config.json through it; tokenizer, checkpoint, end_tokens and generation
read their own files.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..core.errors import InvalidModel

MAX_JSON_BYTES = {"tokenizer.json": 64 * 2**20, "tokenizer_config.json": 16 * 2**20, "added_tokens.json": 16 * 2**20}
"""Files that hold vocabularies or templates; every other one has at most OTHER_JSON_BYTES, so that
parsing it takes neither time nor memory.
"""
OTHER_JSON_BYTES = 8 * 2**20
MAX_VALUES = 2**22
MAX_CONTAINERS = 2**20
"""Values of a file, and objects, lists or names: what costs time and memory is how many there are.
The largest vocabularies have half of that.
"""


def read_json(folder: Path, name: str, *, required: bool = True) -> dict[str, Any]:
    """The object in folder/name; {} when it is missing and not required. Raises InvalidModel naming
    the file.
    """
    path = folder / name
    if not path.is_file():
        if required:
            how = "; AutoTokenizer.from_pretrained(DIR).save_pretrained(DIR) in Transformers makes one" * (
                name == "tokenizer.json"
            )
            raise InvalidModel(
                f"The model folder has no {name}; a Hugging Face model folder is needed{how}.", field=name
            )
        return {}
    limit = MAX_JSON_BYTES.get(name, OTHER_JSON_BYTES)
    try:
        with path.open("rb") as file:
            text = file.read(limit + 1)  # bounded, whatever the file says of its size
        if len(text) > limit:
            raise InvalidModel(f"{name} is too large.", field=name, limit=f"{limit} bytes")
        _refuse_many(text, name)
        value = json.loads(text.decode("utf-8"))
    except RecursionError as error:
        raise InvalidModel(
            f"{name} is nested too deeply.", field=name, limit="a few hundred objects in each other"
        ) from error
    except (OSError, ValueError) as error:
        raise InvalidModel(f"{name} is not readable JSON in UTF-8.", field=name) from error
    if not isinstance(value, dict):
        raise InvalidModel(f"{name} must hold one JSON object.", field=name)
    return value


def _refuse_many(text: bytes, name: str) -> None:
    """By the signs between them, before anything is parsed; the few in strings count as well."""
    containers = max(text.count(b"[") + text.count(b"{"), text.count(b":"))
    if text.count(b",") > MAX_VALUES or containers > MAX_CONTAINERS:
        raise InvalidModel(
            f"{name} holds too many values.",
            field=name,
            limit=f"{MAX_VALUES} values, {MAX_CONTAINERS} objects, lists or names",
        )


class Fields:
    """An object of a JSON file. `spelled` says how a family writes a field, `defaults` (by that
    spelling) what it means to leave one out.

    A field that is null counts as stated: it has the value None, whatever the default is. `read`
    are the names that were asked for, as the folder spells them: what stands in the file and was
    never read has no effect.
    """

    def __init__(
        self,
        raw: Mapping[str, Any],
        spelled: Mapping[str, str] | None = None,
        defaults: Mapping[str, Any] | None = None,
        *,
        file: str = "config.json",
        whole_floats: bool = False,
    ) -> None:
        """`whole_floats`: where a whole number is due, 4.0 is 4."""
        self._file = file
        self._whole_floats = whole_floats
        self._spelled = spelled or {}
        self._stated = frozenset(raw)
        self._values = {**(defaults or {}), **raw}
        self.read: set[str] = set()

    def spelling(self, name: str) -> str:
        """How this folder writes the field."""
        return self._spelled.get(name, name)

    def get(self, name: str) -> Any:
        """The value as it stands; None where it is missing or null."""
        spelled = self.spelling(name)
        self.read.add(spelled)
        return self._values.get(spelled)

    def _as_whole(self, value: Any) -> Any:
        return int(value) if self._whole_floats and type(value) is float and value.is_integer() else value

    def states(self, name: str) -> bool:
        """Whether the file itself has the field, be it null."""
        return self.spelling(name) in self._stated

    def whole(self, name: str, low: int, high: int, *, default: int | None = None) -> int:
        """A whole number in low..high; `default` where there is none. Raises InvalidModel naming
        the field.
        """
        name, value = self.spelling(name), self._as_whole(self.get(name))
        if value is None:
            if default is None:
                raise InvalidModel(f"{self._file} lacks {name}.", field=name, limit=f"{low}..{high}")
            value = default
        if type(value) is not int or not low <= value <= high:
            raise InvalidModel(
                f"{name} in {self._file} must be a whole number in {low}..{high}.", field=name, limit=f"{low}..{high}"
            )
        return value

    def maybe_whole(self, name: str, low: int, high: int) -> int | None:
        """As `whole`; None where there is none."""
        return None if self.get(name) is None else self.whole(name, low, high)

    def real(self, name: str, low: float, high: float, *, default: float | None = None) -> float:
        """A finite number from low to high. Raises InvalidModel naming the field."""
        name, value = self.spelling(name), self.get(name)
        value = default if value is None else value
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
            raise InvalidModel(
                f"{name} in {self._file} must be a number from {low:g} to {high:g}.",
                field=name,
                limit=f"{low:g}..{high:g}",
            )
        return float(value)

    def maybe_real(self, name: str, low: float, high: float) -> float | None:
        """As `real`; None where there is none."""
        return None if self.get(name) is None else self.real(name, low, high)

    def flag(self, name: str, *, default: bool = False) -> bool:
        """True or false; `default` where there is neither. Raises InvalidModel naming the field."""
        name, value = self.spelling(name), self.get(name)
        if value is not None and not isinstance(value, bool):
            raise InvalidModel(f"{name} in {self._file} must be true or false.", field=name)
        return default if value is None else value

    def section(self, name: str) -> dict[str, Any]:
        """A nested object; {} where there is none. Raises InvalidModel naming the field."""
        name, value = self.spelling(name), self.get(name)
        if value is not None and not isinstance(value, dict):
            raise InvalidModel(f"{name} must be an object.", field=name)
        return value or {}

    def token_ids(self, name: str, vocab_size: int) -> tuple[int, ...]:
        """One token id or a list of them; () where there is none. Raises InvalidModel for one that
        the model does not have.

        Some folders write -1 for "none".
        """
        name, value = self.spelling(name), self._as_whole(self.get(name))
        if value is None or (type(value) is int and value == -1):
            return ()
        ids = [self._as_whole(token) for token in value] if isinstance(value, list) else [value]
        if not ids:
            return ()
        if len(ids) > 64 or not all(type(i) is int and 0 <= i < vocab_size for i in ids):
            raise InvalidModel(
                f"{name} in {self._file} must be a token id or a short list of them, each below vocab_size.",
                field=name,
                limit=f"0..{vocab_size - 1}",
            )
        return tuple(ids)
