"""Tensors into the safetensors files of a model folder.

Owns which tensor stands in which file, the files' names and the index over them, as Hugging Face
lays them out. It does not know what the tensors are; presets writes random ones through it,
checkpoint reads what comes of it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor

from .checkpoint import INDEX, SINGLE

SHARD_BYTES = 2 << 30


def write_shards(
    folder: Path,
    tensors: Iterator[tuple[str, Tensor]],
    sizes: Mapping[str, int],
    shard_bytes: int,
    written: Callable[[str], None],
) -> None:
    """Take every tensor of `sizes` (bytes by name) from `tensors`, which gives them in that order,
    and write them.

    One file where all of them fit into `shard_bytes`, else several and an index; a tensor that is
    larger by itself has a file of its own. A file's tensors are held until it is written, and no
    others. Raises OSError, SafetensorError.
    """
    groups = _groups(sizes, shard_bytes)
    names = [SINGLE] if len(groups) == 1 else [_name(at, len(groups)) for at in range(1, len(groups) + 1)]
    for file, group in zip(names, groups, strict=True):
        held = {}
        for wanted in group:
            name, held[wanted] = next(tensors)
            assert name == wanted, "tensors come in the order of their sizes"
        save_file(held, folder / file, metadata={"format": "pt"})
        (folder / file).chmod(0o644)
        written(file)
    if len(groups) > 1:
        index = {
            "metadata": {"total_size": sum(sizes.values())},
            "weight_map": {name: file for file, group in zip(names, groups, strict=True) for name in group},
        }
        (folder / INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def _groups(sizes: Mapping[str, int], shard_bytes: int) -> list[list[str]]:
    groups: list[list[str]] = [[]]
    filled = 0
    for name, size in sizes.items():
        if groups[-1] and filled + size > shard_bytes:
            groups.append([])
            filled = 0
        groups[-1].append(name)
        filled += size
    return groups


def _name(at: int, of: int) -> str:
    return f"model-{at:05}-of-{of:05}.safetensors"
