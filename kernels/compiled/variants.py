"""Every form of the kernels that a model will launch, so that all are compiled before the first
job.

Owns the list of launches that bring about every specialisation Triton makes for it, and the loop
that goes through them. It knows shapes, neither weights nor jobs. The executor calls it at its
start on a device; without a device the tests compile the same list ahead of time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..bring import brings_to
from ..decoder_shape import DecoderShape, NormForm
from ..layout import KvLayout, PagedKv
from ..ragged import RaggedBatch, pages_of
from ..ragged_attention import AttentionShape
from ..sampling import COLUMNS, columns_of
from . import attention, gate, norm, sampling, slots, staging
from .tuning import attention_sizes

Progress = Callable[[int, int, str], None]
"""Called with (forms done, forms in all, what is compiled next); once more at the end, with an
empty name.
"""


@dataclass(frozen=True, slots=True)
class Variant:
    """`launch` runs kernels on small tensors of its own; the first time on a device that compiles
    them.
    """

    name: str
    launch: Callable[[], object]


def compile_variants(variants: list[Variant], progress: Progress) -> None:
    """Launch all of them, one after the other, and tell how far it is. Triton's errors come
    through.
    """
    for done, variant in enumerate(variants):
        progress(done, len(variants), variant.name)
        variant.launch()
    progress(len(variants), len(variants), "")


def kernel_variants(shape: DecoderShape, device: torch.device) -> list[Variant]:
    """One launch for each form; allocates a few MiB. Row counts, contexts and batch sizes make no
    further forms.
    """
    kv = PagedKv(
        torch.zeros(
            KvLayout(2, shape.kv_heads, shape.page_tokens, shape.head_dim).pool_shape(1),
            dtype=shape.dtype,
            device=device,
        ),
        KvLayout(2, shape.kv_heads, shape.page_tokens, shape.head_dim),
    )
    return [
        *_attention(shape, kv),
        *_rows(shape, device),
        *_pages(shape, kv),
        *_tokens(shape, device),
    ]


def _attention(shape: DecoderShape, kv: PagedKv) -> Iterator[Variant]:
    """Decodes alone and with chunks, each with a context that is cut, so that the merge is launched
    too.
    """
    for number, kind in enumerate(shape.attentions, 1):
        for chunks in (False, True):
            name = f"attention {number}, {'chunks' if chunks else 'decode'}"
            yield Variant(name, _attending(shape, kv, kind, chunks))


def _attending(shape: DecoderShape, kv: PagedKv, kind: AttentionShape, chunks: bool) -> Callable[[], object]:
    def launch() -> None:
        device = kv.pool.device
        sizes = attention_sizes(device, shape.dtype, kind.heads // shape.kv_heads, shape.head_dim, chunks)
        split = sizes.chunk_split if chunks else sizes.decode_split
        contexts = np.array([split + 2, 1], dtype=np.int64)
        starts = np.array([0, 2 if chunks else 1, 3 if chunks else 2], dtype=np.int64)
        width = int(pages_of(contexts, shape.page_tokens).max())
        batch = RaggedBatch(torch.zeros(2, width, dtype=shape.table_dtype, device=device), starts, contexts)
        # As the decoder has them: queries in front of keys and values, so that the stride between
        # rows is the same.
        qkv = kv.pool.new_zeros(batch.rows, kind.heads + 2 * shape.kv_heads, shape.head_dim)
        out = kv.pool.new_empty(batch.rows, kind.heads, shape.head_dim)
        attention.attend(kv, 1, kind, batch, qkv[:, : kind.heads], out)

    return launch


def _rows(shape: DecoderShape, device: torch.device) -> Iterator[Variant]:
    def zeros(columns: int) -> Tensor:
        return torch.zeros(2, columns, dtype=shape.dtype, device=device)

    for number, form in enumerate(shape.norms, 1):
        x = zeros(form.width)
        yield Variant(f"norm {number}", _norming(form, x, summed=False))
        if form.width == shape.hidden:
            yield Variant(f"sum and norm {number}", _norming(form, x, summed=True))
    if shape.gate is not None:
        both, gated = zeros(2 * shape.intermediate), gate.silu_gate if shape.gate == "silu" else gate.gelu_gate
        yield Variant("gate", lambda: gated(both))


def _norming(form: NormForm, x: Tensor, *, summed: bool) -> Callable[[], object]:
    weight = torch.zeros(form.width, dtype=form.weight_dtype, device=x.device)
    bias = weight if form.biased else None
    if form.kind == "rms":
        if summed:
            return lambda: norm.add_rms_norm_(x, x.clone(), weight, 1e-5)
        return lambda: norm.rms_norm(x, weight, 1e-5)
    if summed:
        return lambda: norm.add_layer_norm_(x, x.clone(), weight, bias, 1e-5)
    return lambda: norm.layer_norm(x, weight, bias, 1e-5)


def _pages(shape: DecoderShape, kv: PagedKv) -> Iterator[Variant]:
    first = torch.zeros(1, dtype=torch.int64, device=kv.pool.device)
    staging_page = torch.empty_like(kv.pool)
    heads = shape.attentions[0].heads + 2 * shape.kv_heads
    qkv = kv.pool.new_zeros(1, heads, shape.head_dim)
    angle = kv.pool.new_zeros(1, 1, shape.turned // 2)
    yield Variant("rotation and write", lambda: slots.rotate_and_write(kv, 1, qkv, angle, angle, first))
    yield Variant("pages out", lambda: staging.gather_pages(kv.pool, first, staging_page))
    yield Variant("pages in", lambda: staging.scatter_pages(kv.pool, first, staging_page))


def _tokens(shape: DecoderShape, device: torch.device) -> Iterator[Variant]:
    """Rows that draw with every filter, and the same with penalties."""
    logits = torch.zeros(2, shape.vocab, dtype=shape.dtype, device=device)
    columns = columns_of({name: np.ones(2) for name in COLUMNS} | {"top_p": np.full(2, 0.5)}, brings_to(device))
    output = torch.zeros(2, shape.vocab, dtype=torch.int32, device=device)
    yield Variant("sampling", lambda: sampling.sample(logits, columns))
    yield Variant("sampling with penalties", lambda: sampling.sample(logits, columns, output, output > 0))
