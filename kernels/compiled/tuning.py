"""How large the pieces are into which a kernel cuts its work.

Owns `AttentionSizes` and the table of measured choices by device; a device that is not in it gets sizes that fit the smallest shared memory we
compile for. It launches nothing; the attention's planner and launcher ask it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch


@dataclass(frozen=True, slots=True)
class AttentionSizes:
    """`rows`: (query, head) pairs of a tile, a power of two of at least 16; `keys`: keys that are looked at together, likewise.

    `decode_split` and `chunk_split`: tokens of context after which the context of a decode or of a chunk's tile is cut and computed side by
    side. The cuts depend on positions alone: neighbours do not change where a row's sums are cut. `warps` and `stages` are Triton's.
    """

    rows: int
    keys: int
    decode_split: int
    chunk_split: int
    warps: int
    stages: int


MEASURED: dict[tuple[str, bool, int], AttentionSizes] = {}
"""(device name, whether the batch has chunks, padded head size) -> sizes. Empty: nothing was measured yet, so the rule below decides."""


def attention_sizes(
    device: torch.device, dtype: torch.dtype, group: int, head_dim: int, chunks: bool
) -> AttentionSizes:
    """Sizes for `group` query heads a KV head; `head_dim` is not yet padded."""
    width = power_of_two(head_dim)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    sizes = MEASURED.get((name, chunks, width))
    if sizes is None:
        # float32 products go through registers, not through matrix units: large tiles would spill.
        narrow = dtype == torch.float32
        keys = 32 if narrow or width > 128 else 64
        warps = 8 if width > 128 or (narrow and chunks) else 4
        sizes = AttentionSizes(32 if narrow else 64, keys, 512, 4096, warps, 1 if narrow else 2)
        if not chunks:
            sizes = replace(sizes, rows=16)
    return replace(sizes, rows=max(sizes.rows, power_of_two(group)))


def power_of_two(count: int) -> int:
    """The next power of two of at least 16, the smallest side of a matrix product on NVIDIA's units."""
    return max(16, 1 << (count - 1).bit_length())
