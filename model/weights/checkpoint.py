"""The tensors of a model folder, from safetensors files only.

Owns finding the shards, checking every header against its file before a byte is believed, and
reading single tensors. It does not know which tensors a model needs; weights asks for them by name.
Pickle files are refused: loading one runs code.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from ...core.errors import InvalidModel
from ..model_json import read_json
from .cut import Cut

MAX_HEADER_BYTES = 4 * 2**20
"""Of one file. A model of a thousand layers has 2 MiB; larger ones cost seconds and hundreds of
megabytes to parse.
"""
MAX_DIMENSIONS = 8
_MAX_NUMBERS = 2**48
_SERVED = ("F64", "F32", "F16", "BF16")
_DTYPE_BYTES = {
    "F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "U64": 8, "I32": 4, "U32": 4, "I16": 2, "U16": 2, "I8": 1,
    "U8": 1, "BOOL": 1,
    "F8_E4M3": 1, "F8_E5M2": 1, "F8_E8M0": 1, "C64": 8,
}  # fmt: skip
_BELONGS = "Take the config.json that belongs to the weights, or download both again."
SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"


@dataclass(frozen=True, slots=True)
class TensorEntry:
    """Where a tensor lies and what its header says."""

    file: Path
    shape: tuple[int, ...]
    dtype: str


class Checkpoint:
    """All tensors of a folder by name. Raises InvalidModel, naming the file and the tensor, for
    anything not as its header says.

    `remarks` are sentences for a person about files that are left unread.
    """

    def __init__(self, folder: Path) -> None:
        _refuse_adapter(folder)
        self._entries: dict[str, TensorEntry] = {}
        self.remarks: list[str] = []
        index = _index(folder)
        if index and (folder / SINGLE).is_file():
            self.remarks.append(
                f"The folder has {SINGLE} and {INDEX}: the first is read, as in Transformers. Delete one."
            )
            index = {}
        for path in _shards(folder, index):
            for name, entry in _read_header(path).items():
                if name in self._entries:
                    raise InvalidModel(f"The tensor {name[:200]} is in two files.", field=path.name)
                self._entries[name] = entry
        _check_index(index, self._entries)
        self._open: dict[Path, Any] = {}

    @property
    def entries(self) -> Mapping[str, TensorEntry]:
        """Where each tensor lies."""
        return self._entries

    @property
    def names(self) -> frozenset[str]:
        """Every tensor in the folder."""
        return frozenset(self._entries)

    def numbers(self, name: str) -> int:
        """How many numbers the tensor holds."""
        return math.prod(self._entries[name].shape)

    def read(self, name: str, shape: tuple[int, ...], cut: Cut | None = None) -> Tensor:
        """The tensor on the CPU, in the file's dtype, or what a cut leaves of it: nothing else is
        read then. Raises InvalidModel when it is missing or has another shape.
        """
        entry = self._entries.get(name)
        if entry is None:
            raise InvalidModel(f"The weights lack the tensor {name}. {_BELONGS}", field=name)
        if entry.shape != shape:
            raise InvalidModel(
                f"The tensor {name} has the shape {list(entry.shape)}; config.json implies {list(shape)}. {_BELONGS}",
                field=name,
                limit=str(list(shape)),
            )
        if entry.dtype not in _SERVED:
            raise InvalidModel(
                f"The tensor {name[:200]} is stored as {entry.dtype}, which is not supported; take the unquantised "
                "model.",
                field=name[:200],
                limit="F64, F32, F16 or BF16",
            )
        try:
            if entry.file not in self._open:
                self._open[entry.file] = safe_open(entry.file, framework="pt", device="cpu")
            file = self._open[entry.file]
            tensor: Tensor = file.get_tensor(name) if cut is None else cut.of(file.get_slice(name))
        except (SafetensorError, OSError) as error:
            raise InvalidModel(f"The tensor {name} cannot be read from {entry.file.name}.", field=name) from error
        return tensor


def _refuse_adapter(folder: Path) -> None:
    """Transformers puts an adapter that lies beside a model onto it, if PEFT is there."""
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        if (folder / name).exists():
            raise InvalidModel(
                f"The folder holds an adapter ({name}), which is not supported. Merge it into the model "
                "(merge_and_unload in PEFT) and save that.",
                field=name,
            )


def _index(folder: Path) -> dict[str, str]:
    """Tensor -> file, by the index; {} where there is none. No file is outside of the folder."""
    if not (folder / INDEX).is_file():
        return {}
    listed = read_json(folder, INDEX).get("weight_map")
    if not isinstance(listed, dict) or not listed:
        raise InvalidModel(f"{INDEX} has no weight_map.", field=INDEX)
    # A name with a slash would read outside of the model folder.
    if not all(
        isinstance(name, str) and len(name) <= 200 and Path(name).name == name and name.endswith(".safetensors")
        for name in listed.values()
    ):
        raise InvalidModel(f"{INDEX} names a file that is no safetensors file of this folder.", field=INDEX)
    return listed


def _shards(folder: Path, index: dict[str, str]) -> list[Path]:
    files = sorted(folder.glob("*.safetensors"))
    if index:
        shards = sorted(set(index.values()))
        for name in shards:
            if not (folder / name).is_file():
                raise InvalidModel(
                    f"{INDEX} names {name[:200]}, which is not in the model folder. Download it.", field=INDEX
                )
        return [folder / name for name in shards]
    if (folder / SINGLE).is_symlink() and not (folder / SINGLE).exists():
        raise InvalidModel(f"{SINGLE} is a link to a file that is missing. Download it again.", field=SINGLE)
    if (folder / SINGLE).is_file():
        return [folder / SINGLE]
    if files:
        raise InvalidModel(f"There are safetensors files, but neither {SINGLE} nor {INDEX}.", field=INDEX)
    if any(folder.glob("*.bin")) or any(folder.glob("*.pt")) or any(folder.glob("*.pth")):
        raise InvalidModel(
            "The weights are pickle files (.bin, .pt, .pth), and loading one can run foreign code. Convert the "
            "model to safetensors.",
            field="model",
            limit="safetensors only",
        )
    raise InvalidModel(
        f"The model folder has no weights ({SINGLE} or {INDEX}). Download them into it.",
        field="model",
        limit="safetensors only",
    )


def _check_index(index: dict[str, str], entries: dict[str, TensorEntry]) -> None:
    for name, shard in index.items():
        if name not in entries or entries[name].file.name != shard:
            raise InvalidModel(
                f"{INDEX} says that {name[:200]} is in {shard[:200]}, but it is not. Download both again.", field=INDEX
            )


def _read_header(path: Path) -> dict[str, TensorEntry]:
    """Names, shapes and types, checked: sizes match shapes, tensors lie back to back, and the file
    ends where the last one does.
    """
    try:
        size = path.stat().st_size
        header, length = _header(path, size)
    except OSError as error:
        raise InvalidModel(f"{path.name} cannot be read: {error.strerror}.", field=path.name) from error
    header.pop("__metadata__", None)
    spans = []
    entries: dict[str, TensorEntry] = {}
    for name, entry in header.items():
        begin, end, entries[name] = _read_entry(path, name, entry)
        spans.append((begin, end))
    position = 0
    for begin, end in sorted(spans):
        if begin != position:
            raise InvalidModel(f"{path.name} has a corrupt header: tensors overlap or leave gaps.", field=path.name)
        position = end
    if 8 + length + position != size:
        raise InvalidModel(
            f"{path.name} has {size} bytes where its header says {8 + length + position}: it is truncated or "
            "damaged. Download it again.",
            field=path.name,
        )
    return entries


def _header(path: Path, size: int) -> tuple[dict[str, Any], int]:
    """The header's object and its bytes, bounded before a byte of it is parsed."""
    with path.open("rb") as file:
        prefix = file.read(8)
        length = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else 0
        if not 2 <= length <= size - 8:
            raise InvalidModel(f"{path.name} is truncated or no safetensors file. Download it again.", field=path.name)
        if length > MAX_HEADER_BYTES:
            raise InvalidModel(
                f"{path.name} has a header of {length} bytes.",
                field=path.name,
                limit=f"{MAX_HEADER_BYTES} bytes of header",
            )
        text = file.read(length)
    try:
        header = json.loads(text.decode("utf-8"), object_pairs_hook=_once_each)
    except (ValueError, RecursionError) as error:
        raise InvalidModel(f"{path.name} has a corrupt header.", field=path.name) from error
    if not isinstance(header, dict):
        raise InvalidModel(f"{path.name} has a corrupt header.", field=path.name)
    return header, length


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object none of whose names stands there twice: two tensors of one name are a trick or an
    accident.
    """
    named = dict(pairs)
    if len(named) != len(pairs):
        raise ValueError("a name stands there twice")
    return named


def _read_entry(path: Path, name: str, entry: Any) -> tuple[int, int, TensorEntry]:
    if not isinstance(entry, dict):
        raise _corrupt(path, name)
    dtype, shape, offsets = entry.get("dtype"), entry.get("shape"), entry.get("data_offsets")
    if not isinstance(dtype, str) or not isinstance(shape, list) or not isinstance(offsets, list) or len(offsets) != 2:
        raise _corrupt(path, name)
    if len(shape) > MAX_DIMENSIONS:
        raise InvalidModel(
            f"{path.name} gives {name[:200]} {len(shape)} dimensions.",
            field=path.name,
            limit=f"{MAX_DIMENSIONS} dimensions",
        )
    if not all(type(n) is int and 0 <= n <= _MAX_NUMBERS for n in (*shape, *offsets)):
        raise _corrupt(path, name)
    if dtype not in _DTYPE_BYTES:
        raise InvalidModel(
            f"The tensor {name[:200]} is stored as {dtype[:16]}, which is not supported; take the unquantised model.",
            field=name[:200],
            limit="F64, F32, F16 or BF16",
        )
    begin, end = offsets
    if end - begin != math.prod(shape) * _DTYPE_BYTES[dtype]:
        raise InvalidModel(
            f"{path.name} has a corrupt header at {name[:200]}: size and shape disagree.", field=path.name
        )
    return begin, end, TensorEntry(path, tuple(shape), dtype)


def _corrupt(path: Path, name: str) -> InvalidModel:
    return InvalidModel(f"{path.name} has a corrupt header at {name[:200]}.", field=path.name)
