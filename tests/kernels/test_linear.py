"""Packed products equal plain ones, for every batch size and with a bias."""

from __future__ import annotations

import pytest
import torch

from skipjoin.kernels.linear import Linear, can_pack, padded_rows

torch.set_num_threads(1)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("rows", [1, 3, 9, 65])
def test_product(dtype, biased, rows):
    torch.manual_seed(0)
    weight, bias = torch.randn(48, 40).to(dtype), torch.randn(48).to(dtype) if biased else None
    x = torch.randn(rows, 40).to(dtype)
    exact = x.double() @ weight.double().T + (bias.double() if biased else 0.0)
    tolerance = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 2e-2, torch.float16: 2e-3}[dtype]
    for packed in (True, False):
        linear = Linear(weight, bias, packed=packed)
        assert (linear.out_features, linear.in_features) == (48, 40)
        got = linear(x)
        assert got.dtype is dtype
        torch.testing.assert_close(got.double(), exact, rtol=tolerance, atol=tolerance * 10)


def test_float64_is_never_packed():
    assert not can_pack(torch.float64)


def test_row_counts_fall_into_few_classes():
    assert [padded_rows(n) for n in (1, 4, 5, 32, 33, 65, 257, 1025)] == [4, 4, 5, 32, 36, 68, 272, 1088]
    classes = {padded_rows(n) for n in range(1, 4097)}
    assert len(classes) < 200
    assert all(n <= padded_rows(n) < max(1.0625 * n + 4, 5) for n in range(1, 5000))
