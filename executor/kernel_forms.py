"""The compiled kernels that a model will launch, made ready before its first job.

Owns the way from a loaded model to the shape that its kernels depend on, and the lines that say how
far the compiler is. It knows no kernel; `kernels/compiled/variants.py` lists them. The runner calls
it at the start on a CUDA device.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import torch

from ..kernels.decoder_shape import DecoderShape
from ..model.parts.inside import pieces
from ..model.parts.norm import Norm
from ..model.weights.loaded import LoadedModel
from .current_device import computing_on

log = logging.getLogger("skipjoin.engine")


def compile_forms(model: LoadedModel, page_tokens: int, beat: Callable[[], None] = lambda: None) -> int:
    """Launch every form once, so that none is compiled while a job waits; gives their number. Later
    starts find them in Triton's cache. `beat` is called after each.
    """

    def say(done: int, total: int, name: str) -> None:
        beat()
        _say(done, total, name)

    # Not at the top: a CPU needs no triton.
    from ..kernels.compiled.variants import compile_variants, kernel_variants

    with computing_on(model.device):
        forms = kernel_variants(decoder_shape(model, page_tokens), model.device)
        compile_variants(forms, say)
    return len(forms)


def _say(done: int, total: int, name: str) -> None:
    if done == total:
        log.info("%d of %d kernel forms are ready", done, total)
    else:
        log.info("compiling kernel form %d of %d: %s", done + 1, total, name)


def decoder_shape(model: LoadedModel, page_tokens: int) -> DecoderShape:
    """What of the model its kernels depend on; tables are those of `HandleTable`."""
    config, parts = model.config, model.parts
    attentions = (layer.attention.shape for layer in parts.layers)
    norms = (piece.form() for piece in pieces((parts.layers[0], parts.ends)) if isinstance(piece, Norm))
    gated = config.architecture.tensors.gated
    return DecoderShape(
        dtype=model.dtype,
        kv_heads=config.kv_heads,
        head_dim=config.head_dim,
        hidden=config.hidden,
        intermediate=config.intermediate,
        page_tokens=page_tokens,
        attentions=tuple(dict.fromkeys(attentions)),
        turned=config.ropes[0].turned if config.ropes else 0,
        vocab=config.vocab_size,
        norms=tuple(dict.fromkeys(form for form in norms if form is not None)),
        gate=None if not gated else "gelu" if config.activation == "gelu_tanh" else "silu",
        table_dtype=torch.int64,
    )
