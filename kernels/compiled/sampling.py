"""From logits to tokens: penalties, temperature, top-k, top-p, min-p and one draw, row by row.

Owns two kernels: one scores the vocabulary in blocks side by side, one finds each row's borders and
draws. A row's token depends on its own logits, parameters, seed and position. It does not know jobs
or what stops them. `dispatch` hands `sample` out; the plain-torch one beside this folder is the
reference, and the tokens are the same.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..sampling import SamplingColumns
from .draw import uniform
from .launch import OPTIONS

_BLOCK = 2048
_ONE_BITS = tl.constexpr(0x3FF0000000000000)  # 1.0, the largest weight


@triton.jit
def _score(  # type: ignore[no-untyped-def]
    logits, output, anywhere, repetition, presence, frequency, scores, block_best, block_token, block_raw,
    row_stride, vocab, blocks, PENALISED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row, block = tl.program_id(0).to(tl.int64), tl.program_id(1)
    token = block * BLOCK + tl.arange(0, BLOCK)
    there = token < vocab
    score = tl.load(logits + row * row_stride + token, mask=there, other=float("-inf")).to(tl.float64)
    # A maximum skips NaN; as infinity it is seen.
    tl.store(block_raw + row * blocks + block, tl.max(tl.where(score == score, score, float("inf")), 0))
    if PENALISED:
        rate = tl.load(repetition + row)
        seen = tl.load(anywhere + row * vocab + token, mask=there, other=0) != 0
        score = tl.where(seen, tl.where(score > 0, score / rate, score * rate), score)
        count = tl.load(output + row * vocab + token, mask=there, other=0)
        score = score - tl.load(frequency + row) * count.to(tl.float64)
        score = score - tl.where(count > 0, tl.load(presence + row), 0.0)
    tl.store(scores + row * vocab + token, score, mask=there)
    best = tl.max(tl.where(score == score, score, float("-inf")), 0)
    tl.store(block_best + row * blocks + block, best)
    tl.store(block_token + row * blocks + block, tl.min(tl.where((score == best) & there, token, vocab), 0))


@triton.jit
def _border(weights, vocab, low, need, COUNT: tl.constexpr, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    """The largest weight w, as bits, of which it holds that the weights >= w number (COUNT) or
    weigh at least `need`.

    Bisection over the bits of positive numbers, which order as the numbers do; both ends move to
    weights that there are, so that it ends after about as many steps as the logarithm of the
    vocabulary. `low`: bits of which it is known to hold.
    """
    high = tl.full((), _ONE_BITS, tl.int64) + 1
    while high - low > 1:
        middle = low + (high - low) // 2
        reached = tl.full((), 0.0, tl.float64)
        above, below = high, low
        for start in range(0, vocab, BLOCK):
            token = start + tl.arange(0, BLOCK)
            weight = tl.load(weights + token, mask=token < vocab, other=0.0)
            bits = weight.to(tl.int64, bitcast=True)
            upper = bits >= middle
            reached += tl.sum(tl.where(upper, 1.0 if COUNT else weight, 0.0), 0)
            above = tl.minimum(above, tl.min(tl.where(upper, bits, high), 0))
            below = tl.maximum(below, tl.max(tl.where(upper, low, bits), 0))
        holds = reached >= need
        low = tl.where(holds, above, low)
        high = tl.where(holds, high, below + 1)
    return low


@triton.jit
def _mass(weights, vocab, border, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    """Sum of the weights >= border."""
    total = tl.full((), 0.0, tl.float64)
    for start in range(0, vocab, BLOCK):
        token = start + tl.arange(0, BLOCK)
        weight = tl.load(weights + token, mask=token < vocab, other=0.0)
        total += tl.sum(tl.where(weight >= border, weight, 0.0), 0)
    return total


@triton.jit
def _find(weights, vocab, border, target, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    """The first token at which the running sum of the weights >= border reaches `target`; the last
    with a weight, if rounding kept it below.
    """
    running = tl.full((), 0.0, tl.float64)
    found, last = tl.full((), 0, tl.int32) + vocab, tl.full((), 0, tl.int32)
    for start in range(0, vocab, BLOCK):
        token = start + tl.arange(0, BLOCK)
        weight = tl.load(weights + token, mask=token < vocab, other=0.0)
        weight = tl.where(weight >= border, weight, 0.0)
        reached = (running + tl.cumsum(weight, 0) >= target) & (weight > 0)
        found = tl.minimum(found, tl.min(tl.where(reached, token, vocab), 0))
        last = tl.maximum(last, tl.max(tl.where(weight > 0, token, 0), 0))
        running += tl.sum(weight, 0)
    return tl.where(found < vocab, found, last)


@triton.jit
def _choose(  # type: ignore[no-untyped-def]
    scores, block_best, block_token, block_raw, temperature, top_k, top_p, min_p, seed, position,
    tokens, finite, vocab, blocks, BLOCKS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    block = tl.arange(0, BLOCKS)
    held = block < blocks
    best_of = tl.load(block_best + row * blocks + block, mask=held, other=float("-inf"))
    raw = tl.max(tl.load(block_raw + row * blocks + block, mask=held, other=float("-inf")), 0)
    best = tl.max(best_of, 0)
    # Both: a penalty next to nothing drives a logit beyond the numbers there are.
    is_finite = (raw > float("-inf")) & (raw < float("inf")) & (best > float("-inf")) & (best < float("inf"))
    tl.store(finite + row, is_finite)
    best_token = tl.load(block_token + row * blocks + block, mask=held, other=vocab)
    chosen = tl.min(tl.where(best_of == best, best_token, vocab), 0)
    weights = scores + row * vocab
    heat = tl.load(temperature + row)
    if is_finite & (heat > 0):
        for start in range(0, vocab, BLOCK):
            token = start + tl.arange(0, BLOCK)
            score = tl.load(weights + token, mask=token < vocab, other=float("-inf"))
            # The best score is taken off before the division: a tiny temperature must not turn it
            # into infinity.
            tl.store(weights + token, tl.exp((score - best) / heat), mask=token < vocab)
        tl.debug_barrier()
        low = tl.full((), 0, tl.int64)
        kept = tl.minimum(tl.load(top_k + row), vocab)
        if kept > 0:
            low = _border(weights, vocab, low, kept.to(tl.float64), True, BLOCK)
        share = tl.load(top_p + row)
        if share < 1.0:
            whole = _mass(weights, vocab, low.to(tl.float64, bitcast=True), BLOCK)
            low = _border(weights, vocab, low, share * whole, False, BLOCK)
        border = tl.maximum(low.to(tl.float64, bitcast=True), tl.load(min_p + row))
        total = _mass(weights, vocab, border, BLOCK)
        drawn = uniform(tl.load(seed + row), tl.load(position + row))
        chosen = _find(weights, vocab, border, drawn * total, BLOCK)
    tl.store(tokens + row, tl.where(is_finite, chosen, 0).to(tl.int64))


def sample(
    logits: Tensor, columns: SamplingColumns, output: Tensor | None = None, anywhere: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """As the reference."""
    rows, vocab = logits.shape
    tokens = torch.zeros(rows, dtype=torch.int64, device=logits.device)
    finite = torch.zeros(rows, dtype=torch.bool, device=logits.device)
    if not rows:
        return tokens, finite
    assert logits.stride(1) == 1 and (output is None) == (anywhere is None)
    blocks = triton.cdiv(vocab, _BLOCK)
    scores = torch.empty(rows, vocab, dtype=torch.float64, device=logits.device)
    best, raw = (torch.empty(rows, blocks, dtype=torch.float64, device=logits.device) for _ in range(2))
    best_token = torch.empty(rows, blocks, dtype=torch.int32, device=logits.device)
    unused = tokens
    _score[(rows, blocks)](
        logits, unused if output is None else output, unused if anywhere is None else anywhere,
        columns.repetition, columns.presence, columns.frequency, scores, best, best_token, raw,
        logits.stride(0), vocab, blocks, PENALISED=output is not None, BLOCK=_BLOCK, num_warps=8, **OPTIONS,
    )  # fmt: skip
    _choose[(rows,)](
        scores, best, best_token, raw, columns.temperature, columns.top_k, columns.top_p, columns.min_p,
        columns.seed, columns.position, tokens, finite, vocab, blocks,
        BLOCKS=1 << (blocks - 1).bit_length(), BLOCK=_BLOCK, num_warps=8, **OPTIONS,
    )  # fmt: skip
    return tokens, finite
