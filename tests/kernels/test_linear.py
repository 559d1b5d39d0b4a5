"""Products of every form equal plain ones, for every batch size and with a bias; ours are the same
to the bit in any company.
"""

from __future__ import annotations

import math
import os
import subprocess
import sys

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from skipjoin.kernels.linear import DenseLinear, can_pack, form_for, padded_rows
from skipjoin.kernels.native.library import library

torch.set_num_threads(1)

CPU = torch.device("cpu")
COMPILED = pytest.mark.needs("a C compiler")
FORMS = [
    *(("plain", dtype) for dtype in (torch.float64, torch.float32, torch.bfloat16, torch.float16)),
    ("onednn", torch.float32),
    pytest.param("onednn", torch.bfloat16, marks=pytest.mark.needs("bf16 products of oneDNN")),
    *(pytest.param("native", dtype, marks=COMPILED) for dtype in (torch.float64, torch.float32)),
]
TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 2e-2, torch.float16: 2e-3}


@pytest.mark.parametrize(("form", "dtype"), FORMS)
@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("rows", [0, 1, 3, 9, 65])
def test_product(form, dtype, biased, rows):
    torch.manual_seed(0)
    weight, bias = torch.randn(48, 40).to(dtype), torch.randn(48).to(dtype) if biased else None
    x = torch.randn(rows, 40).to(dtype)
    exact = x.double() @ weight.double().T + (bias.double() if biased else 0.0)
    linear = DenseLinear(weight, bias, form=form)
    assert (linear.out_features, linear.in_features) == (48, 40)
    got = linear(x)
    assert got.dtype is dtype
    torch.testing.assert_close(got.double(), exact, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype] * 10)


@COMPILED
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@given(
    rows=st.integers(1, 300),
    out=st.integers(1, 150),
    depth=st.one_of(st.integers(1, 70), st.sampled_from([512, 1024, 1025, 2600])),
    biased=st.booleans(),
    threads=st.sampled_from([1, 2, 5]),
)
@example(rows=16, out=70, depth=1024, biased=True, threads=1)
@example(rows=17, out=33, depth=2048, biased=False, threads=2)
@example(rows=29, out=1, depth=2600, biased=True, threads=2)
@example(rows=300, out=65, depth=2600, biased=True, threads=5)
def test_any_size_on_any_number_of_threads(dtype, rows, out, depth, biased, threads):
    """Outputs that fill no panel, depths that are cut, rows that lie as they are and rows that are
    turned; nothing beside x is read or written.
    """
    torch.manual_seed(rows)
    weight, bias = torch.randn(out, depth, dtype=dtype), torch.randn(out, dtype=dtype) if biased else None
    wide = torch.full((rows, depth + 3), math.nan, dtype=dtype)
    wide[:, :depth] = torch.randn(rows, depth, dtype=dtype)
    x = wide[:, :depth]
    torch.set_num_threads(threads)
    try:
        got = DenseLinear(weight, bias, form="native")(x)
    finally:
        torch.set_num_threads(1)
    exact = x.double() @ weight.double().T + (bias.double() if biased else 0.0)
    error = (got.double() - exact).abs().max() / exact.abs().max().clamp(min=1e-3)
    assert error <= (1e-5 if dtype is torch.float32 else 1e-12)


@COMPILED
@pytest.mark.parametrize("depth", [24, 1024, 2600])
def test_company_changes_no_bit(depth):
    """A row alone gives what it gives among any number of others, on any number of threads."""
    torch.manual_seed(1)
    linear = DenseLinear(torch.randn(77, depth), torch.randn(77), form="native")
    x = torch.randn(150, depth)
    alone = torch.cat([linear(row[None]) for row in x])
    for threads in (1, 2):
        torch.set_num_threads(threads)
        try:
            for rows in (2, 5, 7, 13, 14, 15, 16, 17, 28, 29, 60, 127, 150):
                assert torch.equal(linear(x[:rows]), alone[:rows]), (rows, threads)
        finally:
            torch.set_num_threads(1)


STARVED = """
import ctypes, sys, torch
from skipjoin.kernels.linear import DenseLinear
paths = {line.split()[-1] for line in open("/proc/self/maps") if "gomp" in line or "omp5" in line}
limits = {ctypes.CDLL(path).omp_get_thread_limit() for path in paths}
assert limits == {int(sys.argv[1])}, limits
torch.manual_seed(0)
for rows, out, depth in ((1, 700, 300), (16, 700, 1100), (60, 70, 2600), (300, 200, 2600)):
    torch.set_num_threads(5)
    linear, x = DenseLinear(torch.randn(out, depth), torch.randn(out), form="native"), torch.randn(rows, depth)
    got = linear(x)
    torch.set_num_threads(1)
    assert torch.equal(got, linear(x)), (rows, out, depth)
print("as alone")
"""


@COMPILED
@pytest.mark.parametrize("come", [1, 2])
def test_shares_of_threads_that_never_come_are_taken_by_the_others(come):
    """Work is dealt to five, of whom OpenMP gives us one or two: as if the others had lost their
    processors for as long as a product takes.
    """
    ran = subprocess.run(
        [sys.executable, "-c", STARVED, str(come)],
        env=os.environ | {"OMP_THREAD_LIMIT": str(come), "OMP_DYNAMIC": "false"},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert ran.stdout == "as alone\n", ran.stderr


@COMPILED
@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("rows", [2, 20, 40])
def test_bad_numbers_stay_in_their_row(bad, rows):
    x = torch.ones(rows, 40)
    x[1, 5] = bad
    got = DenseLinear(torch.rand(70, 40) + 1, form="native")(x)
    assert not got[1].isfinite().any() and got[torch.arange(rows) != 1].isfinite().all()


@COMPILED
def test_the_form_is_the_quickest_there_is(monkeypatch):
    assert form_for(CPU, torch.float32) == form_for(CPU, torch.float64) == "native"
    assert form_for(CPU, torch.float16) == form_for(torch.device("meta"), torch.float32) == "plain"
    assert form_for(CPU, torch.bfloat16) == ("onednn" if can_pack(torch.bfloat16) else "plain")
    library.cache_clear()
    monkeypatch.setenv("SKIPJOIN_NATIVE", "off")
    try:
        assert form_for(CPU, torch.float32) == ("onednn" if can_pack(torch.float32) else "plain")
        assert form_for(CPU, torch.float64) == "plain"
    finally:
        library.cache_clear()


def test_row_counts_of_onednn_fall_into_few_classes():
    assert [padded_rows(n) for n in (1, 4, 5, 32, 33, 65, 257, 1025)] == [4, 4, 5, 32, 36, 68, 272, 1088]
    classes = {padded_rows(n) for n in range(1, 4097)}
    assert len(classes) < 200
    assert all(n <= padded_rows(n) < max(1.0625 * n + 4, 5) for n in range(1, 5000))
