"""Shapes of the models and names of the devices that published tables are about, which the tables
themselves leave out.

Owns both lists. It reads no file; the formats look up what a file's name or a flag says.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ...core.errors import InvalidProfile
from .reading import Wish


@dataclass(frozen=True, slots=True)
class Shape:
    """A decoder: `parameters` in all, of them 16-bit numbers are made."""

    layers: int
    hidden: int
    kv_heads: int
    head_dim: int
    parameters: float

    @property
    def token_bytes(self) -> int:
        """Keys and values of one token in all layers."""
        return 2 * self.layers * self.kv_heads * self.head_dim * 2

    @property
    def weight_bytes(self) -> float:
        """All weights."""
        return 2 * self.parameters


SHAPES = {
    # from the models' own config.json and cards
    "opt-13b": Shape(40, 5120, 40, 128, 12.9e9),
    "opt-66b": Shape(64, 9216, 72, 128, 65.7e9),
    "opt-175b": Shape(96, 12288, 96, 128, 175e9),
    "phi-2": Shape(32, 2560, 32, 80, 2.78e9),
    "llama-2-7b": Shape(32, 4096, 32, 128, 6.74e9),
    "llama-2-70b": Shape(80, 8192, 8, 128, 69.0e9),
    "llama-3-8b": Shape(32, 4096, 8, 128, 8.03e9),
    "llama-3-70b": Shape(80, 8192, 8, 128, 70.6e9),
    "llama-3.1-8b": Shape(32, 4096, 8, 128, 8.03e9),
    "llama-3.1-70b": Shape(80, 8192, 8, 128, 70.6e9),
}
DEVICES = {
    "a100": "NVIDIA A100 80GB",
    "h100": "NVIDIA H100 80GB",
    "rtx4090": "NVIDIA GeForce RTX 4090",
    "rtxpro6000": "NVIDIA RTX PRO 6000",
}


def plain_name(name: str) -> str:
    """A model's name without its maker and its ornaments: `meta-llama/Meta-Llama-3-8B` is
    `llama-3-8b`, as is `Llama-3-8B-Instruct`.
    """
    plain = name.lower().rsplit("/", 1)[-1].removeprefix("meta-")
    plain = re.sub(r"-(hf|instruct|chat)\b", "", plain)
    return re.sub(r"^llama(\d)(\d)-", r"llama-\1.\2-", plain)


def named_in(file: str) -> str | None:
    """The model that a file's name speaks of, if it is a known one."""
    words = re.split(r"[_ ]", file)
    return next((plain for word in words if (plain := plain_name(word.rsplit(".csv", 1)[0])) in SHAPES), None)


def shape_of(name: str) -> Shape:
    """The shape of a known model. Raises InvalidProfile."""
    shape = SHAPES.get(plain_name(name))
    if shape is None:
        raise InvalidProfile(
            f"The shape of model {name!r} is not known here.",
            field="model",
            limit=f"one of {', '.join(sorted(SHAPES))}",
        )
    return shape


def check_model(wish: Wish, found: str) -> None:
    """Raise InvalidProfile when the flags ask for another model than the files are about."""
    if wish.model is not None and plain_name(wish.model) != plain_name(found):
        raise InvalidProfile(f"The source is about {found}, not about {wish.model}.", field="model", limit=found)


def device_of(wish: Wish, files: list[str]) -> str:
    """The flag's device, else the one that the files are named for. Raises InvalidProfile when
    neither says.
    """
    if wish.device is not None:
        return wish.device
    for file in files:
        for word in re.split(r"[_\-.]", file.lower()):
            if word in DEVICES:
                return DEVICES[word]
    raise InvalidProfile("No file's name says which device was measured; give --device.", field="device")


def kv_room(wish: Wish) -> int:
    """The flag's room for KV. Raises InvalidProfile when it is missing: operator tables do not say
    what fits beside the weights.
    """
    if wish.kv_tokens is None:
        raise InvalidProfile(
            "The source does not say how much KV fits; give --kv-tokens.", field="kv_tokens", limit="1 or more tokens"
        )
    return wish.kv_tokens
