"""Contests of what stands between matrix products and attention, and of the packed products.

Rotation with the write into pages, norms, gates, linear layers; and how many bytes each must move.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ....kernels import elementwise, slots
from ....kernels.layout import PagedKv
from ....kernels.ragged import RaggedBatch
from ..race import Contestant
from ..roofline import Work
from .contest import OURS, REFERENCE, Contest, Ground, contest_of
from .scenario import Case
from .subject import MakeLinear

EPS = 1e-5


def write_contest(ground: Ground, case: Case) -> Contest:
    """One new token for each of `rows` sequences, each in a page of its own."""
    model, device, dtype, rows = ground.model, ground.device, ground.dtype, case.size
    kernels, layout = ground.subject.kernels, ground.layout(model.pool_layers)
    pool = torch.zeros(layout.pool_shape(rows), device=device, dtype=dtype)
    generator = np.random.default_rng(0)
    places = generator.permutation(rows) * model.page_tokens + generator.integers(0, model.page_tokens, rows)
    at = torch.from_numpy(places).to(device)
    fresh = ground.randn(rows, model.heads + 2 * model.kv_heads, model.head_dim)
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

    prepared = kernels.prepare(PagedKv(pool, layout), batch, at)

    def truth() -> Tensor:
        wide, copy = PagedKv(pool.double(), layout), fresh.double()
        slots.rotate_and_write(wide, layer, copy, cos.double(), sin.double(), at)
        return torch.cat([copy[:, : model.heads].flatten(), wide.pool.flatten()])

    ours = contestant(OURS, lambda kv, qkv: kernels.rotate_and_write(kv, layer, qkv, cos, sin, prepared))
    plain = contestant(REFERENCE, lambda kv, qkv: slots.rotate_and_write(kv, layer, qkv, cos, sin, at))
    # Everything is read; queries go back to where they were, keys and values to their pages.
    return contest_of(ground, case, [ours, plain], truth, Work(2 * fresh.nbytes))


Norm = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(x, residual, weight): the norm of their sum, which the residual becomes."""


def norm_contest(ground: Ground, case: Case) -> Contest:
    """The sum into the residual and its norm."""
    x, residual = (ground.randn(case.size, ground.model.hidden) for _ in range(2))
    weight, bias = (ground.randn(ground.model.hidden) for _ in range(2))
    kernels, layer = ground.subject.kernels, case.form == "layer"

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
        total, wide = (x.double() + residual.double()).to(ground.dtype).double(), weight.double()
        if layer:
            return torch.cat([elementwise.layer_norm(total, wide, bias.double(), EPS), total])
        return torch.cat([elementwise.rms_norm(total, wide, EPS), total])

    # The plain LayerNorm is torch's own already.
    contestants = [contestant(OURS, ours), contestant(REFERENCE, plain)]
    contestants += [] if layer else [contestant("torch", torchs)]
    return contest_of(ground, case, contestants, truth, Work(4 * x.nbytes))


def gate_contest(ground: Ground, case: Case) -> Contest:
    """SwiGLU or GeGLU of gate and up side by side."""
    both = ground.randn(case.size, 2 * ground.model.intermediate)
    kernels, gelu = ground.subject.kernels, case.form == "gelu"
    ours = kernels.gelu_gate if gelu else kernels.silu_gate
    plain = elementwise.gelu_gate if gelu else elementwise.silu_gate

    def contestant(name: str, gate: Callable[[Tensor], Tensor]) -> Contestant:
        return Contestant(name, lambda: gate(both), lambda: gate(both))

    contestants = [contestant(OURS, ours), contestant(REFERENCE, plain)]
    return contest_of(ground, case, contestants, lambda: plain(both.double()), Work(3 * both.nbytes // 2))


def linear_contest(ground: Ground, case: Case) -> Contest:
    """Every product of a forward pass for `rows` tokens; all weights come from memory, as in use."""
    model, rows = ground.model, case.size
    shapes = [
        ((model.heads + 2 * model.kv_heads) * model.head_dim, model.hidden),
        (model.hidden, model.heads * model.head_dim),
        (2 * model.intermediate, model.hidden),
        (model.hidden, model.intermediate),
    ]
    shapes = [*shapes * model.layers, (model.vocab_size, model.hidden)]
    weights = [ground.randn(*shape) / shape[1] ** 0.5 for shape in shapes]
    inputs = [ground.randn(rows, width) for _, width in shapes]
    # The truth of one layer and of the head: the other layers are alike, and float64 is slow.
    checked = [*range(4), len(shapes) - 1]

    def contestant(name: str, linear: MakeLinear) -> Contestant:
        products = [linear(weight) for weight in weights]

        def run() -> None:
            for product, x in zip(products, inputs, strict=True):
                product(x)

        return Contestant(name, run, lambda: torch.cat([products[i](inputs[i]).flatten() for i in checked]))

    def truth() -> Tensor:
        return torch.cat([(inputs[i].double() @ weights[i].double().T).flatten() for i in checked])

    plain = contestant(REFERENCE, lambda w: lambda x: functional.linear(x, w))
    numbers = sum(weight.numel() for weight in weights)
    handled = sum(x.numel() for x in inputs) + rows * sum(height for height, _ in shapes)
    work = Work((numbers + handled) * ground.dtype.itemsize, 2 * numbers * rows)
    return contest_of(ground, case, [contestant(OURS, ground.subject.linear), plain], truth, work)
