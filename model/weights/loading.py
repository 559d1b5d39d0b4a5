"""A model folder becomes a model that can run.

Owns `load_model`: the order of config, file headers, the question whether there is memory for it,
and weights, and the warnings about a folder that is served otherwise than it says. It does not know
how a tensor is read or laid out. Servers, `skipjoin.LLM`, the profiler and tests call it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from ...kernels.linear import form_for
from ..config import ModelConfig, load_config
from ..parts.collectives import Collectives
from ..parts.ring import Ring
from ..stage import stages_of
from .assembly import Assembler
from .checkpoint import Checkpoint
from .loaded import LoadedModel, parse_device, parse_dtype
from .memory import not_enough, refuse_too_large

log = logging.getLogger("skipjoin.model")


def load_model(
    folder: str | Path,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | str = "float32",
    progress: Callable[[int, int], None] = lambda done, total: None,
    collectives: Collectives | None = None,
    ring: Ring | None = None,
    sharing: int = 1,
) -> LoadedModel:
    """Load a Hugging Face folder of a known architecture. `progress` hears how many bytes of how
    many are read, in the precision served. `collectives`: of the ranks that share the model's
    layers, of which this one reads its part; `ring`: of the stages between which the layers are
    divided. The config of what is loaded is that of the part. `sharing`: so many ranks load their
    parts into this machine's memory.

    Raises InvalidModel for a folder that cannot or must not be loaded or is too large for the
    memory that is free, InvalidInput for an unknown device or precision.
    """
    device = parse_device(device) if isinstance(device, str) else device
    dtype = parse_dtype(dtype) if isinstance(dtype, str) else dtype
    path = Path(folder)
    config = load_config(path)
    read = 0

    def advanced(numbers: int) -> None:
        nonlocal read
        read += numbers
        progress(read * dtype.itemsize, total * dtype.itemsize)

    checkpoint = Checkpoint(path)
    stage = None if ring is None else stages_of(config, ring.stages)[ring.stage]
    assembler = Assembler(config, checkpoint, device, dtype, advanced, collectives=collectives, stage=stage)
    total = numbers = assembler.numbers
    if config.tied_embeddings and assembler.stage.has_ends and form_for(device, dtype) != "plain":
        numbers += config.vocab_size * config.embedding_width  # the head is laid out anew, the embedding is not
    together = sharing if device.type == "cpu" else 1  # each GPU has its own memory
    refuse_too_large(numbers * dtype.itemsize * together, device, dtype)
    try:
        parts = assembler.assemble()
    except torch.OutOfMemoryError as full:
        # It was enough in all, but not in one piece, or another process took some.
        raise not_enough(numbers * dtype.itemsize, device, dtype) from full
    for remark in (*config.remarks, *checkpoint.remarks, *assembler.remarks):
        log.warning("%s", remark)
    return LoadedModel(_of_part(config, assembler), parts, device, dtype, ring)


def _of_part(config: ModelConfig, assembler: Assembler) -> ModelConfig:
    """The config of a rank's part: what is computed and kept here, beside the whole vocabulary."""
    heads, kv_heads, columns = (assembler.share(n).size for n in (config.heads, config.kv_heads, config.intermediate))
    layers = assembler.stage.layers
    return replace(
        config,
        layers=len(layers),
        attention=config.attention[layers.start : layers.stop],
        heads=heads,
        kv_heads=kv_heads,
        intermediate=columns,
    )
