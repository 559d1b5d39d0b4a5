"""Contests of all kernels but attention.

* what stands between products and attention: rotation with the write into pages, norms, gates;
  the packed products; and how many bytes each must move;
* whole pages, gathered and scattered on the device, moved to the host and back: every bit arrives;
* sampling, whose truth is written apart from both samplers: a row after the other, in numpy, by
  sorting. Every token must be the right one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import count

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from ....core.asked import Asked
from ....core.ids import Handle, MoveId
from ....core.plan import Admit, Direction, Int64s, Move
from ....core.sampling import SamplingParams
from ....executor.handles import HandleTable
from ....kernels import elementwise, slots, staging
from ....kernels.draw import uniform
from ....kernels.layout import PagedKv
from ....kernels.ragged import RaggedBatch
from ....kvstore.device.mover import mover_for
from ....kvstore.device.pool import PagePools, PoolShape
from ..race import Contestant, Work
from .contest import OURS, REFERENCE, Contest, Copy, Ground, MakeLinear, Sample, contest_of, exact_contest, plain_sample
from .scenario import Case

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


def staging_contest(ground: Ground, case: Case) -> Contest:
    """Scattered pages into one buffer and from it back into a pool."""
    pages, layout = case.size, ground.layout(ground.model.layers)
    pool = ground.randn(*layout.pool_shape(2 * pages))
    wanted = torch.from_numpy(np.random.default_rng(0).permutation(2 * pages)[:pages]).to(ground.device)

    def contestant(name: str, gather: Copy, scatter: Copy) -> Contestant:
        buffer, target = pool.new_empty(pages, *pool.shape[1:]), torch.zeros_like(pool)

        def run() -> None:
            gather(pool, wanted, buffer)
            scatter(target, wanted, buffer)

        def result() -> Tensor:
            buffer.fill_(float("nan"))
            target.zero_()
            run()
            return torch.cat([buffer.double(), target.double()])

        return Contestant(name, run, result)

    def indexed(source: Tensor, at: Tensor, buffer: Tensor) -> None:
        buffer.copy_(source[at])

    def back(target: Tensor, at: Tensor, buffer: Tensor) -> None:
        target[at] = buffer

    def truth() -> Tensor:
        target = torch.zeros_like(pool)
        target[wanted] = pool[wanted]
        return torch.cat([pool[wanted].double(), target.double()])

    contestants = [
        contestant(OURS, ground.subject.gather, ground.subject.scatter),
        contestant(REFERENCE, staging.gather_pages, staging.scatter_pages),
        contestant("torch", indexed, back),
    ]
    return exact_contest(case, contestants, truth, Work(4 * pages * layout.page_bytes(ground.dtype)))


def move_contest(ground: Ground, case: Case, direction: Direction) -> Contest:
    """The executor's mover beside a page by page copy, one move of scattered pages at a time.

    CUDA's host memory is pinned for both.
    """
    device, pages, layout = ground.device, case.size, ground.layout(ground.model.layers)
    shape = PoolShape(2 * pages, 2 * pages, ground.model.page_tokens)
    pools = PagePools(layout, shape, device, ground.dtype)
    random = np.random.default_rng(0)
    on_device, on_host = (random.permutation(2 * pages)[:pages].astype(np.int32) for _ in range(2))
    ends = [(pools.device, on_device), (pools.host, on_host)]
    (source, from_at), (target, to_at) = ends if direction is Direction.OUT else ends[::-1]
    source.copy_(torch.randn(source.shape, dtype=ground.dtype))
    mover, numbers = mover_for(pools), count(1)

    def move() -> None:
        mover.start(Move(MoveId(next(numbers)), direction, Handle(0), on_device, on_host))
        while not mover.landed():
            mover.wait_one(None)

    def one_by_one() -> None:
        for start, end in zip(from_at.tolist(), to_at.tolist(), strict=True):
            target[end].copy_(source[start], non_blocking=True)
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    def contestant(name: str, run: Callable[[], None]) -> Contestant:
        def result() -> Tensor:
            target.zero_()
            run()
            return target[torch.from_numpy(to_at).to(target.device)].double().cpu()

        return Contestant(name, run, result, graphable=False)

    def truth() -> Tensor:
        return source[torch.from_numpy(from_at).to(source.device)].double().cpu()

    size, way = pages * layout.page_bytes(ground.dtype), direction.name.lower()
    work = Work(2 * size) if device.type == "cpu" else Work(0, 0, way, size)
    made = exact_contest(case, [contestant(OURS, move), contestant(REFERENCE, one_by_one)], truth, work)
    return replace(made, name=f"{case.name} {way}", close=mover.close)


MIX = (
    SamplingParams(temperature=0.0),
    SamplingParams(temperature=0.8, top_p=0.95),
    SamplingParams(temperature=1.0, top_k=50),
    SamplingParams(temperature=0.7, top_k=40, top_p=0.9, min_p=0.02),
)
"""What the rows ask for, in turn."""


def sampling_contest(ground: Ground, case: Case) -> Contest:
    """Rows with the mix above; torch's own way knows neither filters nor seeds and is only timed."""
    rows, vocabulary = case.size, ground.model.vocab_size
    logits = (torch.randn(rows, vocabulary) * 3).to(ground.dtype).to(ground.device)
    table = HandleTable()
    for handle in range(rows):
        admit = Admit(Handle(handle), np.array([handle % vocabulary], np.int32), 1, 1, Asked(MIX[handle % len(MIX)]), 0)
        table.admit(admit, seed=1000 + handle)
    at = table.rows_of(np.arange(rows))

    def torchs() -> Tensor:
        return torch.multinomial(logits.float().softmax(-1), 1)

    truth = sampled(logits, table, at)

    def contestant(name: str, sample: Sample) -> Contestant:
        def once() -> Tensor:
            return sample(logits, table, at)

        return Contestant(name, once, once, graphable=False)

    contestants = [
        contestant(OURS, ground.subject.sample),
        contestant(REFERENCE, plain_sample),
        Contestant("multinomial", torchs, None, graphable=False),
    ]
    return exact_contest(case, contestants, lambda: truth, Work(logits.nbytes))


def sampled(logits: Tensor, table: HandleTable, rows: Int64s) -> Tensor:
    """int64[n]: what each row draws. Top-k, top-p, min-p in this order; equal weights are kept or
    cut together.
    """
    columns = table.columns
    draws = uniform(torch.from_numpy(columns["seed"][rows]), torch.from_numpy(columns["known"][rows])).numpy()
    numbers = logits.double().cpu().numpy()
    tokens = []
    for i, row in enumerate(rows.tolist()):
        if columns["greedy"][row]:
            tokens.append(int(numbers[i].argmax()))
            continue
        weights = np.exp((numbers[i] - numbers[i].max()) / columns["temperature"][row])
        weights = _top(weights, int(columns["top_k"][row]), float(columns["top_p"][row]))
        weights = np.where(weights >= columns["min_p"][row] * weights.max(), weights, 0.0)
        running = weights.cumsum()
        tokens.append(int(np.searchsorted(running, draws[i] * running[-1])))
    return torch.tensor(tokens, dtype=torch.int64)


def _top(weights: NDArray[np.float64], top_k: int, top_p: float) -> NDArray[np.float64]:
    if top_k:
        weights = np.where(weights >= np.sort(weights)[::-1][min(top_k, len(weights)) - 1], weights, 0.0)
    if top_p < 1.0:
        ranked = np.sort(weights)[::-1]
        enough = int(np.searchsorted(ranked.cumsum(), top_p * weights.sum()))
        weights = np.where(weights >= ranked[min(enough, len(ranked) - 1)], weights, 0.0)
    return weights
