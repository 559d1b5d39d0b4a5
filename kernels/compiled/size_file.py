"""Measured kernel sizes of one device, as a file.

Owns `AttentionSizes`, the key they are found by, and the file format (TOML): reading with every
value bounded, and writing. It does not know which device is here or how sizes are measured.
`tuning` reads the files that ship, `executor/kernel_sizes` those of a user, `bench kernels --tune`
writes.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, cast

MAX_FILE_BYTES = 1 << 20
KINDS = ("float32", "half")

Kind = Literal["float32", "half"]


@dataclass(frozen=True, slots=True)
class AttentionSizes:
    """`rows`: (query, head) pairs of a tile, a power of two of at least 16; `keys`: keys that are
    looked at together, likewise.

    `decode_split` and `chunk_split`: tokens of context after which the context of a decode or of a
    chunk's tile is cut and computed side by side. The cuts depend on positions alone: neighbours do
    not change where a row's sums are cut. `warps` and `stages` are Triton's.
    """

    rows: int
    keys: int
    decode_split: int
    chunk_split: int
    warps: int
    stages: int


@dataclass(frozen=True, slots=True)
class SizeKey:
    """What sizes depend on: the kind of numbers (float32, or a half precision), whether the batch
    has chunks, the head size as padded.
    """

    kind: Kind
    chunks: bool
    head_dim: int


@dataclass(frozen=True, slots=True)
class SizeFile:
    """`device` as CUDA names it; `measured_with` says versions and the command; `us` are the
    microseconds each choice took, for a reader.
    """

    device: str
    measured_with: str
    attention: Mapping[SizeKey, AttentionSizes]
    us: Mapping[SizeKey, float]


class BadSizes(ValueError):
    """A file of sizes that is not as it must be; `file` and `key` name the place, the text says the
    bound.
    """

    def __init__(self, file: str, key: str, why: str) -> None:
        super().__init__(f"{file}: {key}: {why}")
        self.file = file
        self.key = key


_BOUNDS: dict[str, tuple[int, int, bool]] = {
    "head_dim": (16, 512, True),
    "rows": (16, 256, True),
    "keys": (16, 256, True),
    "decode_split": (16, 1 << 24, False),
    "chunk_split": (16, 1 << 24, False),
    "warps": (1, 32, True),
    "stages": (1, 8, False),
}
"""Lowest, highest, whether it must be a power of two: what Triton takes, and no context is longer
than the splits.
"""

_SIZES = tuple(field.name for field in fields(AttentionSizes))
_ROW = {"kind", "chunks", "us", *_BOUNDS}


def parse_sizes(data: bytes, file: str) -> SizeFile:
    """The file's content; `file` is its name for the error. Raises BadSizes naming file and key."""
    if len(data) > MAX_FILE_BYTES:
        raise BadSizes(file, "file", f"larger than {MAX_FILE_BYTES} bytes")
    try:
        whole = tomllib.loads(data.decode("utf-8"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as bad:
        raise BadSizes(file, "file", f"no TOML ({bad})") from None
    for name in whole.keys() - {"device", "measured_with", "attention"}:
        raise BadSizes(file, name, "no such key; there are device, measured_with and attention")
    for name in ("device", "measured_with"):
        if not isinstance(whole.get(name), str) or not whole[name].strip():
            raise BadSizes(file, name, "a text is needed")
    rows = whole.get("attention")
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
        raise BadSizes(file, "attention", "at least one [[attention]] table is needed")
    attention: dict[SizeKey, AttentionSizes] = {}
    us: dict[SizeKey, float] = {}
    for number, row in enumerate(rows, 1):
        key, sizes, taken = _row(row, file, f"attention {number}")
        if key in attention:
            raise BadSizes(file, f"attention {number}", "the same kind, chunks and head_dim stand in it twice")
        attention[key], us[key] = sizes, taken
    return SizeFile(whole["device"], whole["measured_with"], attention, us)


def _row(row: dict[str, Any], file: str, place: str) -> tuple[SizeKey, AttentionSizes, float]:
    for name in sorted(row.keys() - _ROW):
        raise BadSizes(file, f"{place}, {name}", f"no such key; there are {', '.join(sorted(_ROW))}")
    for name in sorted(_ROW - row.keys()):
        raise BadSizes(file, f"{place}, {name}", "missing")
    if row["kind"] not in KINDS:
        raise BadSizes(file, f"{place}, kind", f"one of {', '.join(KINDS)}")
    if not isinstance(row["chunks"], bool):
        raise BadSizes(file, f"{place}, chunks", "true or false")
    if isinstance(row["us"], bool) or not isinstance(row["us"], (int, float)) or not 0 < row["us"] < 1e12:
        raise BadSizes(file, f"{place}, us", "microseconds above 0")
    for name, (low, high, power) in _BOUNDS.items():
        value = row[name]
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise BadSizes(file, f"{place}, {name}", f"a whole number in {low}..{high}")
        if power and value & (value - 1):
            raise BadSizes(file, f"{place}, {name}", f"a power of two in {low}..{high}")
    key = SizeKey(cast(Kind, row["kind"]), row["chunks"], row["head_dim"])
    return key, AttentionSizes(**{name: row[name] for name in _SIZES}), float(row["us"])


def render_sizes(table: SizeFile) -> str:
    """The text of a file that `parse_sizes` reads back."""
    lines = [f"device = {_quoted(table.device)}", f"measured_with = {_quoted(table.measured_with)}"]
    for key, sizes in table.attention.items():
        lines += ["", "[[attention]]", f'kind = "{key.kind}"', f"chunks = {str(key.chunks).lower()}"]
        lines += [f"head_dim = {key.head_dim}", *(f"{name} = {value}" for name, value in asdict(sizes).items())]
        lines.append(f"us = {table.us[key]:.6g}")
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    """A TOML basic string; control characters have no place in a device's name."""
    plain = "".join(char for char in text if char.isprintable())
    return '"' + plain.replace("\\", "\\\\").replace('"', '\\"') + '"'
