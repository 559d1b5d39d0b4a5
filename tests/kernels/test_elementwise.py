"""Norm, rotary embedding and gate against their formulas, written out number by number."""

from __future__ import annotations

import math

import pytest
import torch

from skipjoin.kernels import elementwise

torch.set_num_threads(1)


def test_rms_norm_is_its_formula():
    torch.manual_seed(0)
    x, weight = torch.randn(3, 5, dtype=torch.float64) * 4, torch.randn(5, dtype=torch.float64)
    got = elementwise.rms_norm(x, weight, 1e-5)
    for row in range(3):
        root = math.sqrt(sum(float(v) ** 2 for v in x[row]) / 5 + 1e-5)
        for column in range(5):
            assert float(got[row, column]) == pytest.approx(
                float(x[row, column]) / root * float(weight[column]), rel=1e-12
            )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_normalised_wide(dtype):
    """1,000 squared overflows float16; the norm of a row of 1,000s is a row of ones."""
    x = torch.full((1, 64), 1000.0, dtype=dtype)
    got = elementwise.rms_norm(x, torch.ones(64, dtype=dtype), 1e-6)
    assert got.dtype is dtype
    torch.testing.assert_close(got, torch.ones_like(x))


def test_rotation_turns_each_pair_by_its_angle():
    torch.manual_seed(0)
    frequencies = torch.tensor([1.0, 0.25])
    x = torch.randn(2, 3, 4, dtype=torch.float64)
    turned = x.clone()
    cos, sin = elementwise.rotary_angles(torch.tensor([0, 5]), frequencies, torch.float64)
    elementwise.rotate_(turned, cos, sin)
    torch.testing.assert_close(turned[0], x[0])
    for head in range(3):
        for pair, frequency in enumerate([1.0, 0.25]):
            before = complex(x[1, head, pair], x[1, head, pair + 2])
            after = before * complex(math.cos(5 * frequency), math.sin(5 * frequency))
            assert float(turned[1, head, pair]) == pytest.approx(after.real, abs=1e-6)
            assert float(turned[1, head, pair + 2]) == pytest.approx(after.imag, abs=1e-6)


def test_a_product_of_rotated_vectors_depends_on_their_distance_only():
    torch.manual_seed(1)
    frequencies = torch.tensor([1.0, 0.3, 0.01])
    q, k = torch.randn(6, dtype=torch.float64), torch.randn(6, dtype=torch.float64)

    def product(at, other):
        both = torch.stack([q, k])[:, None, :].clone()
        elementwise.rotate_(both, *elementwise.rotary_angles(torch.tensor([at, other]), frequencies, torch.float64))
        return float(both[0, 0] @ both[1, 0])

    assert product(9, 4) == pytest.approx(product(105, 100), abs=1e-4)
    assert abs(product(9, 4) - product(9, 5)) > 1e-3


def test_silu_gate():
    gate_up = torch.tensor([[0.5, -2.0, 3.0, 4.0]], dtype=torch.float64)
    expected = [[0.5 / (1 + math.exp(-0.5)) * 3.0, -2.0 / (1 + math.exp(2.0)) * 4.0]]
    torch.testing.assert_close(elementwise.silu_gate(gate_up), torch.tensor(expected, dtype=torch.float64))


def test_gelu_gate():
    gate_up = torch.tensor([[0.5, -2.0, 3.0, 4.0]], dtype=torch.float64)

    def gelu(x):
        return 0.5 * x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))

    expected = torch.tensor([[gelu(0.5) * 3.0, gelu(-2.0) * 4.0]], dtype=torch.float64)
    torch.testing.assert_close(elementwise.gelu_gate(gate_up), expected)


@pytest.mark.parametrize("biased", [False, True])
def test_layer_norm_is_its_formula(biased):
    torch.manual_seed(0)
    x, weight, bias = (torch.randn(*shape, dtype=torch.float64) for shape in ((3, 5), (5,), (5,)))
    got = elementwise.layer_norm(x, weight, bias if biased else None, 1e-5)
    for row in range(3):
        values = x[row].tolist()
        mean = sum(values) / 5
        root = math.sqrt(sum((v - mean) ** 2 for v in values) / 5 + 1e-5)
        for column in range(5):
            want = (values[column] - mean) / root * float(weight[column]) + (float(bias[column]) if biased else 0.0)
            assert float(got[row, column]) == pytest.approx(want, rel=1e-12)


def test_a_fused_sum_stays_in_the_residual():
    torch.manual_seed(0)
    x, residual, weight = (torch.randn(*shape, dtype=torch.float64) for shape in ((2, 5), (2, 5), (5,)))
    total = x + residual
    for fused, plain, extra in (
        (elementwise.add_rms_norm_, elementwise.rms_norm, ()),
        (elementwise.add_layer_norm_, elementwise.layer_norm, (None,)),
    ):
        kept = residual.clone()
        torch.testing.assert_close(fused(x, kept, weight, *extra, 1e-5), plain(total, weight, *extra, 1e-5))
        assert torch.equal(kept, total)
