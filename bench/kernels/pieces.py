"""Contests of what stands between matrix products and attention: rotation with the write into pages, norms, gates, and the packed products.

Owns their inputs and how many bytes each must move. It knows no clock. `study` calls the maker of a case's kernel.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ...kernels import elementwise, slots
from ...kernels.layout import KvLayout, PagedKv
from ...kernels.ragged import RaggedBatch
from .contest import BOUNDS, OURS, REFERENCE, Contest, Contestant, Work
from .scenario import Case, ModelShape
from .subject import Subject

EPS = 1e-5


def _contest(
    case: Case, contestants: list[Contestant], truth: Callable[[], Tensor], dtype: torch.dtype, work: Work
) -> Contest:
    return Contest(case.name, case.kernel, tuple(contestants), truth, BOUNDS[dtype], work)


def write_contest(case: Case, model: ModelShape, subject: Subject, device: torch.device, dtype: torch.dtype) -> Contest:
    """One new token for each of `rows` sequences, each in a page of its own."""
    rows = _rows(case)
    layout = KvLayout(model.pool_layers, model.kv_heads, model.page_tokens, model.head_dim)
    pool = torch.zeros(layout.pool_shape(rows), device=device, dtype=dtype)
    generator = np.random.default_rng(0)
    places = generator.permutation(rows) * model.page_tokens + generator.integers(0, model.page_tokens, rows)
    at = torch.from_numpy(places).to(device)
    heads = model.heads + 2 * model.kv_heads
    fresh = torch.randn(rows, heads, model.head_dim, device=device, dtype=dtype)
    frequencies = 1e4 ** -(torch.arange(model.head_dim // 2, device=device) * 2 / model.head_dim)
    cos, sin = elementwise.rotary_angles(torch.arange(rows, device=device) + 500, frequencies, dtype)
    tables = (at // model.page_tokens)[:, None]
    batch = RaggedBatch(tables, np.arange(rows + 1), np.ones(rows, dtype=np.int64))
    layer = model.pool_layers - 1

    def contestant(name: str, write: Callable[[PagedKv, Tensor], None]) -> Contestant:
        kv, qkv = PagedKv(pool.clone(), layout), fresh.clone()

        def result() -> Tensor:
            clean, copy = PagedKv(torch.zeros_like(pool), layout), fresh.clone()
            write(clean, copy)
            return torch.cat([copy[:, : model.heads].flatten(), clean.pool.flatten()])

        return Contestant(name, lambda: write(kv, qkv), result)

    prepared = subject.kernels.prepare(PagedKv(pool, layout), batch, at)

    def truth() -> Tensor:
        wide, copy = PagedKv(pool.double(), layout), fresh.double()
        slots.rotate_and_write(wide, layer, copy, cos.double(), sin.double(), at)
        return torch.cat([copy[:, : model.heads].flatten(), wide.pool.flatten()])

    ours = contestant(OURS, lambda kv, qkv: subject.kernels.rotate_and_write(kv, layer, qkv, cos, sin, prepared))
    plain = contestant(REFERENCE, lambda kv, qkv: slots.rotate_and_write(kv, layer, qkv, cos, sin, at))
    # Everything is read; queries go back to where they were, keys and values to their pages.
    return _contest(case, [ours, plain], truth, dtype, Work(2 * fresh.numel() * dtype.itemsize))


Norm = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(x, residual, weight): the norm of their sum, which the residual becomes."""


def norm_contest(case: Case, model: ModelShape, subject: Subject, device: torch.device, dtype: torch.dtype) -> Contest:
    """The sum into the residual and its norm."""
    x, residual = (torch.randn(_rows(case), model.hidden, device=device, dtype=dtype) for _ in range(2))
    weight, bias = (torch.randn(model.hidden, device=device, dtype=dtype) for _ in range(2))
    kernels, layer = subject.kernels, case.form == "layer"

    def ours(a: Tensor, b: Tensor, w: Tensor) -> Tensor:
        return kernels.add_layer_norm_(a, b, w, bias, EPS) if layer else kernels.add_rms_norm_(a, b, w, EPS)

    def plain(a: Tensor, b: Tensor, w: Tensor) -> Tensor:
        return elementwise.add_layer_norm_(a, b, w, bias, EPS) if layer else elementwise.add_rms_norm_(a, b, w, EPS)

    def torchs(a: Tensor, b: Tensor, w: Tensor) -> Tensor:
        return functional.rms_norm(b.add_(a), w.shape, w, EPS)

    def contestant(name: str, norm: Norm) -> Contestant:
        # What is timed adds zeros: the residual would else grow from run to run.
        still, kept = torch.zeros_like(x), residual.clone()

        def result() -> Tensor:
            total = residual.clone()
            return torch.cat([norm(x, total, weight), total])

        return Contestant(name, lambda: norm(still, kept, weight), result)

    def truth() -> Tensor:
        total, wide = (x.double() + residual.double()).to(dtype).double(), weight.double()
        if layer:
            return torch.cat([elementwise.layer_norm(total, wide, bias.double(), EPS), total])
        return torch.cat([elementwise.rms_norm(total, wide, EPS), total])

    # The plain LayerNorm is torch's own already.
    contestants = [contestant(OURS, ours), contestant(REFERENCE, plain)]
    contestants += [] if layer else [contestant("torch", torchs)]
    return _contest(case, contestants, truth, dtype, Work(4 * x.numel() * dtype.itemsize))


def gate_contest(case: Case, model: ModelShape, subject: Subject, device: torch.device, dtype: torch.dtype) -> Contest:
    """SwiGLU or GeGLU of gate and up side by side."""
    both = torch.randn(_rows(case), 2 * model.intermediate, device=device, dtype=dtype)
    gelu = case.form == "gelu"
    ours = subject.kernels.gelu_gate if gelu else subject.kernels.silu_gate
    plain = elementwise.gelu_gate if gelu else elementwise.silu_gate

    def contestant(name: str, gate: Callable[[Tensor], Tensor]) -> Contestant:
        return Contestant(name, lambda: gate(both), lambda: gate(both))

    contestants = [contestant(OURS, ours), contestant(REFERENCE, plain)]
    work = Work(3 * both.numel() // 2 * dtype.itemsize)
    return _contest(case, contestants, lambda: plain(both.double()), dtype, work)


def linear_contest(
    case: Case, model: ModelShape, subject: Subject, device: torch.device, dtype: torch.dtype
) -> Contest:
    """Every product of a forward pass for `rows` tokens, with all weights of all layers: they come from memory, as in use."""
    shapes = [
        ((model.heads + 2 * model.kv_heads) * model.head_dim, model.hidden),
        (model.hidden, model.heads * model.head_dim),
        (2 * model.intermediate, model.hidden),
        (model.hidden, model.intermediate),
    ]
    shapes = [*shapes * model.layers, (model.vocab_size, model.hidden)]
    weights = [torch.randn(shape, device=device, dtype=dtype) / shape[1] ** 0.5 for shape in shapes]
    inputs = [torch.randn(_rows(case), width, device=device, dtype=dtype) for _, width in shapes]
    # The truth of one layer and of the head: the other layers are alike, and float64 is slow.
    checked = [*range(4), len(shapes) - 1]

    def contestant(name: str, linear: Callable[[Tensor], Callable[[Tensor], Tensor]]) -> Contestant:
        products = [linear(weight) for weight in weights]

        def run() -> None:
            for product, x in zip(products, inputs, strict=True):
                product(x)

        return Contestant(name, run, lambda: torch.cat([products[i](inputs[i]).flatten() for i in checked]))

    def truth() -> Tensor:
        return torch.cat([(inputs[i].double() @ weights[i].double().T).flatten() for i in checked])

    contestants = [contestant(OURS, subject.linear), contestant(REFERENCE, lambda w: lambda x: functional.linear(x, w))]
    numbers = sum(rows * columns for rows, columns in shapes)
    handled = sum(x.numel() for x in inputs) + _rows(case) * sum(rows for rows, _ in shapes)
    return _contest(
        case, contestants, truth, dtype, Work((numbers + handled) * dtype.itemsize, 2 * numbers * _rows(case))
    )


def _rows(case: Case) -> int:
    assert case.rows is not None, "the scenario asked for rows"
    return case.rows
