"""How a model's makers want it to be sampled.

Owns the reading of the sampling fields of generation_config.json. It imports no torch, because the door uses it: what a request leaves out is
what stands here. `serving/tokenizers.py` calls it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..core.errors import InvalidInput, InvalidModel
from ..core.sampling import SamplingParams
from .model_json import read_json

FILE = "generation_config.json"
_FIELDS = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty")


def sampling_defaults(folder: str | Path) -> SamplingParams:
    """Sampling of a request that says nothing about it: the file's where it says something, else the whole distribution at temperature 1.

    A file that says `do_sample: false` asks for the most likely token. Raises InvalidModel naming the field.
    """
    raw = read_json(Path(folder), FILE, required=False)
    said: dict[str, Any] = {name: raw[name] for name in _FIELDS if raw.get(name) is not None}
    if said.get("top_k") == -1:
        said["top_k"] = 0  # both spellings of "no bound" are in use
    if raw.get("do_sample") is False:
        said["temperature"] = 0.0
    try:
        return SamplingParams(**said)
    except InvalidInput as error:
        raise InvalidModel(f"{FILE}: {error.message}", field=error.field, limit=error.limit) from None
