"""The JSON files of a model folder, read so that nothing unchecked gets past.

Owns `read_json` and `Fields`: every number bounded, every refusal naming the field as the folder spells it. It does not know what the fields mean.
config, rope and windows read a model's config.json through it; tokenizer, checkpoint and generation read their own files.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..core.errors import InvalidModel

MAX_JSON_BYTES = 64 * 2**20


def read_json(folder: Path, name: str, *, required: bool = True) -> dict[str, Any]:
    """The object in folder/name; {} when it is missing and not required. Raises InvalidModel naming the file."""
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
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise InvalidModel(f"{name} is too large.", field=name, limit=f"{MAX_JSON_BYTES} bytes")
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InvalidModel(f"{name} is not readable JSON in UTF-8.", field=name) from error
    if not isinstance(value, dict):
        raise InvalidModel(f"{name} must hold one JSON object.", field=name)
    return value


class Fields:
    """An object of config.json. `spelled` says how a family writes a field, `defaults` (by that spelling) what it means to leave one out.

    A field that is null counts as stated: it has the value None, whatever the default is.
    """

    def __init__(
        self,
        raw: Mapping[str, Any],
        spelled: Mapping[str, str] | None = None,
        defaults: Mapping[str, Any] | None = None,
    ) -> None:
        self._spelled = spelled or {}
        self._values = {**(defaults or {}), **raw}

    def spelling(self, name: str) -> str:
        """How this folder writes the field."""
        return self._spelled.get(name, name)

    def get(self, name: str) -> Any:
        """The value as it stands; None where it is missing or null."""
        return self._values.get(self.spelling(name))

    def whole(self, name: str, low: int, high: int, *, default: int | None = None) -> int:
        """A whole number in low..high; `default` where there is none. Raises InvalidModel naming the field."""
        name, value = self.spelling(name), self.get(name)
        if value is None:
            if default is None:
                raise InvalidModel(f"config.json lacks {name}.", field=name, limit=f"{low}..{high}")
            value = default
        if type(value) is not int or not low <= value <= high:
            raise InvalidModel(
                f"{name} in config.json must be a whole number in {low}..{high}.", field=name, limit=f"{low}..{high}"
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
                f"{name} in config.json must be a number from {low:g} to {high:g}.",
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
            raise InvalidModel(f"{name} in config.json must be true or false.", field=name)
        return default if value is None else value

    def section(self, name: str) -> dict[str, Any]:
        """A nested object; {} where there is none. Raises InvalidModel naming the field."""
        name, value = self.spelling(name), self.get(name)
        if value is not None and not isinstance(value, dict):
            raise InvalidModel(f"{name} must be an object.", field=name)
        return value or {}

    def token_ids(self, name: str, vocab_size: int) -> tuple[int, ...]:
        """One token id or a list of them; () where there is none. Raises InvalidModel for one that the model does not have."""
        name, value = self.spelling(name), self.get(name)
        if value is None:
            return ()
        ids = value if isinstance(value, list) else [value]
        if not ids or len(ids) > 64 or not all(type(i) is int and 0 <= i < vocab_size for i in ids):
            raise InvalidModel(
                f"{name} must be a token id or a short list of them, each below vocab_size.",
                field=name,
                limit=f"0..{vocab_size - 1}",
            )
        return tuple(ids)
