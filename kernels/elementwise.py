"""Norms, rotary embedding and the gated activations, in plain torch.

Owns the small operations between the matrix products. They know neither layers nor pages. The
decoder calls them through `dispatch`; tests compare the compiled kernels with them.
"""

from __future__ import annotations

import torch
from torch import Tensor


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """Root-mean-square norm over the last dimension of x[n, hidden], times weight[hidden] (Zhang
    and Sennrich 2019).

    Half precisions are normalised in float32 and rounded before the weight is applied, as the
    published Llama models were trained. A weight that is float32 beside them is applied before the
    rounding, as Gemma's are.
    """
    if x.dtype in (torch.float16, torch.bfloat16):
        wide = x.float()
        if weight.dtype == torch.float32:
            return wide.mul_(_inverse_root(wide, eps)).mul_(weight).to(x.dtype)
        return weight * (wide * _inverse_root(wide, eps)).to(x.dtype)
    # Written out: torch's rms_norm took three times as long on small CPU batches (42 against 15
    # microseconds).
    return (x * _inverse_root(x, eps)).mul_(weight)


def add_rms_norm_(x: Tensor, residual: Tensor, weight: Tensor, eps: float) -> Tensor:
    """`rms_norm` of residual + x, which `residual` becomes; all [n, hidden]."""
    return rms_norm(residual.add_(x), weight, eps)


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor | None, eps: float) -> Tensor:
    """Norm to mean 0 and variance 1 over the last dimension of x[n, hidden], times weight, plus
    bias [hidden] (Ba et al. 2016).
    """
    return torch.nn.functional.layer_norm(x, x.shape[-1:], weight, bias, eps)


def add_layer_norm_(x: Tensor, residual: Tensor, weight: Tensor, bias: Tensor | None, eps: float) -> Tensor:
    """`layer_norm` of residual + x, which `residual` becomes; all [n, hidden]."""
    return layer_norm(residual.add_(x), weight, bias, eps)


def _inverse_root(x: Tensor, eps: float) -> Tensor:
    return x.square().mean(-1, keepdim=True).add_(eps).rsqrt_()


def rotary_angles(positions: Tensor, inverse_frequencies: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Cosine and sine, [n, 1, head_dim / 2] each, for int64[n] positions.

    The angle is computed in float32 whatever the model's precision is: that is how the models were
    trained and what makes another implementation's tokens comparable.
    """
    angles = positions.to(torch.float32)[:, None] * inverse_frequencies
    return angles.cos().to(dtype)[:, None, :], angles.sin().to(dtype)[:, None, :]


def rotate_(x: Tensor, cos: Tensor, sin: Tensor) -> None:
    """Rotate x[n, heads, head_dim] in place: element i of the first half pairs with element i of
    the second (RoFormer, eq. 34).
    """
    half = x.shape[-1] // 2
    first, second = x[..., :half], x[..., half:]
    rotated = (first * cos).addcmul_(second, sin, value=-1)
    second.mul_(cos).addcmul_(first, sin)
    first.copy_(rotated)


def silu_gate(gate_up: Tensor) -> Tensor:
    """silu(gate) * up for gate_up[n, 2 * width] holding both side by side (SwiGLU, Shazeer 2020)."""
    gate, up = gate_up.chunk(2, dim=-1)
    return torch.nn.functional.silu(gate).mul_(up)


def gelu_gate(gate_up: Tensor) -> Tensor:
    """gelu(gate) * up, with the tanh form of GELU that Gemma was trained with (GeGLU, Shazeer
    2020); shapes as in `silu_gate`.
    """
    gate, up = gate_up.chunk(2, dim=-1)
    return torch.nn.functional.gelu(gate, approximate="tanh").mul_(up)
