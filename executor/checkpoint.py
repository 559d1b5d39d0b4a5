"""The tensors of a model folder, from safetensors files only.

Owns finding the shards, checking every header against its file before a byte is believed, and reading single tensors. It does not know which
tensors a model needs; weights asks for them by name. Pickle files are refused: loading one runs code.
"""

from __future__ import annotations

import json
import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..core.errors import InvalidModel
from .model_json import read_json

MAX_HEADER_BYTES = 100 * 2**20
_DTYPE_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}
_BELONGS = "Take the config.json that belongs to the weights, or download both again."
SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"


@dataclass(frozen=True, slots=True)
class TensorEntry:
    """Where a tensor lies and what its header says."""

    file: Path
    shape: tuple[int, ...]


class Checkpoint:
    """All tensors of a folder by name. Raises InvalidModel, naming the file and the tensor, for anything not as its header says."""

    def __init__(self, folder: Path) -> None:
        self._entries: dict[str, TensorEntry] = {}
        for path in _shards(folder):
            for name, shape in _read_header(path).items():
                if name in self._entries:
                    raise InvalidModel(f"The tensor {name} is in two files.", field=path.name)
                self._entries[name] = TensorEntry(path, shape)
        _check_index(folder, self._entries)
        self._open: dict[Path, Any] = {}

    @property
    def names(self) -> frozenset[str]:
        """Every tensor in the folder."""
        return frozenset(self._entries)

    def numbers(self, name: str) -> int:
        """How many numbers the tensor holds."""
        return math.prod(self._entries[name].shape)

    def read(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """The tensor on the CPU, in the file's dtype. Raises InvalidModel when it is missing or has another shape."""
        entry = self._entries.get(name)
        if entry is None:
            raise InvalidModel(f"The weights lack the tensor {name}. {_BELONGS}", field=name)
        if entry.shape != shape:
            raise InvalidModel(
                f"The tensor {name} has the shape {list(entry.shape)}; config.json implies {list(shape)}. {_BELONGS}",
                field=name,
                limit=str(list(shape)),
            )
        try:
            if entry.file not in self._open:
                self._open[entry.file] = safe_open(entry.file, framework="pt", device="cpu")
            tensor: Tensor = self._open[entry.file].get_tensor(name)
        except (SafetensorError, OSError) as error:
            raise InvalidModel(f"The tensor {name} cannot be read from {entry.file.name}.", field=name) from error
        return tensor


def _shards(folder: Path) -> list[Path]:
    files = sorted(folder.glob("*.safetensors"))
    if (folder / INDEX).is_file():
        listed = read_json(folder, INDEX).get("weight_map")
        if not isinstance(listed, dict) or not listed:
            raise InvalidModel(f"{INDEX} has no weight_map.", field=INDEX)
        shards = set(listed.values())
        # A name with a slash would read outside of the model folder.
        if not all(
            isinstance(name, str) and Path(name).name == name and name.endswith(".safetensors") for name in shards
        ):
            raise InvalidModel(f"{INDEX} names a file that is no safetensors file of this folder.", field=INDEX)
        for name in sorted(shards):
            if not (folder / name).is_file():
                raise InvalidModel(f"{INDEX} names {name}, which is not in the model folder. Download it.", field=INDEX)
        return [folder / name for name in sorted(shards)]
    if (folder / SINGLE).is_file():
        return [folder / SINGLE]
    if files:
        raise InvalidModel(f"There are safetensors files, but neither {SINGLE} nor {INDEX}.", field=INDEX)
    if any(folder.glob("*.bin")) or any(folder.glob("*.pt")) or any(folder.glob("*.pth")):
        raise InvalidModel(
            "The weights are pickle files (.bin, .pt, .pth), and loading one can run foreign code. Convert the model to safetensors.",
            field="model",
            limit="safetensors only",
        )
    raise InvalidModel(
        f"The model folder has no weights ({SINGLE} or {INDEX}). Download them into it.",
        field="model",
        limit="safetensors only",
    )


def _check_index(folder: Path, entries: dict[str, TensorEntry]) -> None:
    if not (folder / INDEX).is_file():
        return
    for name, shard in read_json(folder, INDEX)["weight_map"].items():
        if name not in entries or entries[name].file.name != shard:
            raise InvalidModel(
                f"{INDEX} says that {name[:200]} is in {shard}, but it is not. Download both again.", field=INDEX
            )


def _read_header(path: Path) -> dict[str, tuple[int, ...]]:
    """Names and shapes, checked: sizes match shapes, tensors lie back to back, and the file ends where the last one does."""
    size = path.stat().st_size
    with path.open("rb") as file:
        prefix = file.read(8)
        length = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else 0
        if not 2 <= length <= min(MAX_HEADER_BYTES, size - 8):
            raise InvalidModel(f"{path.name} is truncated or no safetensors file. Download it again.", field=path.name)
        try:
            header = json.loads(file.read(length).decode("utf-8"))
        except (ValueError, RecursionError) as error:
            raise InvalidModel(f"{path.name} has a corrupt header.", field=path.name) from error
    if not isinstance(header, dict):
        raise InvalidModel(f"{path.name} has a corrupt header.", field=path.name)
    header.pop("__metadata__", None)
    spans = []
    shapes: dict[str, tuple[int, ...]] = {}
    for name, entry in header.items():
        begin, end, shape = _read_entry(path, name, entry)
        spans.append((begin, end))
        shapes[name] = shape
    position = 0
    for begin, end in sorted(spans):
        if begin != position:
            raise InvalidModel(f"{path.name} has a corrupt header: tensors overlap or leave gaps.", field=path.name)
        position = end
    if 8 + length + position != size:
        raise InvalidModel(
            f"{path.name} has {size} bytes where its header says {8 + length + position}: it is truncated or damaged. Download it again.",
            field=path.name,
        )
    return shapes


def _read_entry(path: Path, name: str, entry: Any) -> tuple[int, int, tuple[int, ...]]:
    try:
        dtype, shape, (begin, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
        numbers = [*shape, begin, end]
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidModel(f"{path.name} has a corrupt header at {name[:200]}.", field=path.name) from error
    if not all(type(n) is int and n >= 0 for n in numbers):
        raise InvalidModel(f"{path.name} has a corrupt header at {name[:200]}.", field=path.name)
    if dtype not in _DTYPE_BYTES:
        raise InvalidModel(
            f"The tensor {name[:200]} is stored as {str(dtype)[:16]}, which is not supported; take the unquantised model.",
            field=name[:200],
            limit="F64, F32, F16 or BF16",
        )
    if end - begin != math.prod(shape) * _DTYPE_BYTES[dtype]:
        raise InvalidModel(
            f"{path.name} has a corrupt header at {name[:200]}: size and shape disagree.", field=path.name
        )
    return begin, end, tuple(shape)
