"""Norms and gates against the references in float64."""

from __future__ import annotations

import torch
from nearness import DTYPES, assert_near

from skipjoin.kernels import elementwise
from skipjoin.kernels.compiled import gate as compiled_gate
from skipjoin.kernels.compiled import norm as compiled_norm


def norm(device, dtype, rows, hidden, seed, kind="rms", residual=False, biased=False, offset=0.0, wide_weight=False):
    """`wide_weight`: the weight is float32 whatever the dtype. `offset` moves the mean away from 0,
    where a variance from sums of squares would lose its digits.
    """
    torch.manual_seed(seed)
    x, other = (torch.randn(rows, hidden, device=device).add(offset).to(DTYPES[dtype]) for _ in range(2))
    weight, bias = (torch.randn(hidden, device=device).to(DTYPES[dtype]) for _ in range(2))
    if wide_weight:
        weight = torch.randn(hidden, device=device)
    extra = () if kind == "rms" else (bias if biased else None,)
    wide = tuple(None if part is None else part.double() for part in extra)
    name = f"add_{kind}_norm_" if residual else f"{kind}_norm"
    if not residual:
        got = getattr(compiled_norm, name)(x, weight, *extra, 1e-5)
        return assert_near(got, getattr(elementwise, name)(x.double(), weight.double(), *wide, 1e-5))
    plain_name = name.removeprefix("add_").removesuffix("_")
    kept, plain = other.clone(), other.double()
    got = getattr(compiled_norm, name)(x, kept, weight, *extra, 1e-5)
    assert torch.equal(kept, x + other)
    getattr(elementwise, name)(x.double(), plain, weight.double(), *wide, 1e-5)
    assert torch.equal(plain, x.double() + other.double())
    # What is normalised is the sum as the dtype holds it: it is what the next layer adds to.
    return assert_near(got, getattr(elementwise, plain_name)(kept.double(), weight.double(), *wide, 1e-5))


def gate(device, dtype, rows, width, seed, kind):
    torch.manual_seed(seed)
    gate_up = (torch.randn(rows, 2 * width, device=device) * 4).to(DTYPES[dtype])
    if gate_up.numel() == 2:
        gate_up = gate_up.abs()  # one number alone that underflows would be off by all of itself
    name = f"{kind}_gate"
    return assert_near(getattr(compiled_gate, name)(gate_up), getattr(elementwise, name)(gate_up.double()))
