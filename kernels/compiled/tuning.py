"""How large the pieces are into which a kernel cuts its work.

Owns the choice: sizes that this machine's user measured, then those that ship for the device, then
a rule that fits the smallest shared memory we compile for. It launches nothing and measures
nothing; the attention's planner and launcher ask it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from importlib.resources import files

import torch

from .size_file import AttentionSizes, SizeFile, SizeKey, parse_sizes

FOLDER = "sizes"
"""Beside this file: a file a device, named as it likes, made by `skipjoin bench kernels --tune` on
such a device and by nothing else.
"""

_own: dict[str, Mapping[SizeKey, AttentionSizes]] = {}


def use_sizes(table: SizeFile) -> None:
    """Prefer the sizes of `table` to those that ship, in this process, for the device it was
    measured on.
    """
    _own[table.device] = table.attention


@cache
def shipped_sizes() -> Mapping[str, Mapping[SizeKey, AttentionSizes]]:
    """Device name -> sizes that come with the package. Raises BadSizes."""
    folder = files(__package__) / FOLDER
    names = sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []
    tables = [parse_sizes((folder / name).read_bytes(), name) for name in names if name.endswith(".toml")]
    return {table.device: table.attention for table in tables}


@cache
def device_name(device: torch.device) -> str:
    """As CUDA names it; the type of a device that has no names."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def attention_sizes(
    device: torch.device, dtype: torch.dtype, group: int, head_dim: int, chunks: bool
) -> AttentionSizes:
    """Sizes for `group` query heads a KV head; `head_dim` is not yet padded."""
    key = size_key(dtype, head_dim, chunks)
    name = device_name(device)
    for table in (_own, shipped_sizes()):
        sizes = table.get(name, {}).get(key)
        if sizes is not None:
            break
    else:
        sizes = sizes_by_rule(key)
    return replace(sizes, rows=max(sizes.rows, power_of_two(group)))


def size_key(dtype: torch.dtype, head_dim: int, chunks: bool) -> SizeKey:
    """What sizes are found by; `head_dim` is not yet padded."""
    return SizeKey("float32" if dtype == torch.float32 else "half", chunks, power_of_two(head_dim))


def sizes_by_rule(key: SizeKey) -> AttentionSizes:
    """Where nothing was measured. float32 products go through registers, not through matrix units:
    large tiles would spill.
    """
    narrow, wide_head = key.kind == "float32", key.head_dim > 128
    keys = 32 if narrow or wide_head else 64
    warps = 8 if wide_head or (narrow and key.chunks) else 4
    rows = 16 if not key.chunks else 32 if narrow else 64
    return AttentionSizes(rows, keys, 512, 4096, warps, 1 if narrow else 2)


def power_of_two(count: int) -> int:
    """The next power of two of at least 16, the smallest side of a matrix product on NVIDIA's
    units.
    """
    return max(16, 1 << (count - 1).bit_length())
