"""A kernel that is wrong is told as wrong, whichever it is; a right one is timed between the
rooflines.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from skipjoin.bench.device.command import BOUNDS
from skipjoin.bench.device.kernels.contest import Subject, product_on
from skipjoin.bench.device.kernels.run import row_line
from skipjoin.bench.device.kernels.scenario import KERNELS, load_shapes
from skipjoin.bench.device.kernels.study import KernelRow
from skipjoin.bench.device.race import SpeedRow

CPU = torch.device("cpu")


MODEL = load_shapes(Path(__file__).with_name("quick.toml")).model


def product() -> Subject:
    return product_on(CPU, torch.float32, MODEL)


def of_kernels(**wrong: Callable[..., object]) -> Subject:
    return replace(product(), kernels=replace(product().kernels, **wrong))


def half_attention(kv, layer, shape, prepared, queries, out):
    product().kernels.attend(kv, layer, shape, prepared, queries, out)
    out[-1, -1] *= 1.001


def no_attention(kv, layer, shape, prepared, queries, out):
    return None


def unwritten(kv, layer, qkv, cos, sin, prepared):
    product().kernels.rotate_and_write(kv, layer, qkv, cos, sin, prepared)
    kv.pool[:, layer, 1] = 0


def no_sum(x, residual, weight, eps):
    return product().kernels.rms_norm(x + residual, weight, eps)


def forgetful(pool, pages, staging):
    product().gather(pool, pages, staging)
    staging[-1] = staging[0]


def scattered_too_far(pool, pages, staging):
    product().scatter(pool, pages, staging)
    pool[(int(pages.max()) + 1) % len(pool)] = 1.0


def best_only(logits, table, rows):
    return logits.argmax(-1)


def half(both):
    return both[:, : both.shape[1] // 2]


def narrow(weight):
    return lambda x: x.bfloat16().float() @ weight.T


WRONG = {
    "attention": [of_kernels(attend=half_attention), of_kernels(attend=no_attention)],
    "write": [of_kernels(rotate_and_write=unwritten)],
    "norm": [of_kernels(add_rms_norm_=no_sum, add_layer_norm_=lambda x, residual, *rest: residual.add_(x))],
    "gate": [of_kernels(silu_gate=half, gelu_gate=lambda both: product().kernels.silu_gate(both))],
    "staging": [replace(product(), gather=forgetful), replace(product(), scatter=scattered_too_far)],
    "sampling": [replace(product(), sample=best_only)],
    "linear": [replace(product(), linear=narrow)],
}


def kernel_rows(rows):
    return [row for row in rows if isinstance(row, KernelRow)]


@pytest.mark.parametrize(
    ("kernel", "number"), [(kernel, n) for kernel, many in WRONG.items() for n in range(len(many))]
)
def test_a_wrong_kernel_is_wrong_and_not_timed(studied, kernel, number):
    rows = kernel_rows(studied(WRONG[kernel][number], only=kernel))
    ours = [row for row in rows if row.contestant == "skipjoin"]
    assert ours and all(row.fails and row.us is None for row in ours)
    assert all("WRONG" in row_line(row, row.case) for row in ours)
    others = [row for row in rows if row.contestant != "skipjoin"]
    assert others and all(row.right and row.us and row.ours_over_it is None for row in others)


class OfACompiler(Exception):
    """As Triton's, which are no RuntimeErrors."""


@pytest.mark.parametrize("kind", [RuntimeError, OfACompiler])
def test_a_kernel_that_breaks_does_not_end_the_study(studied, kind):
    def broken(both):
        raise kind("CUDA out of memory\nand more")

    rows = kernel_rows(studied(of_kernels(silu_gate=broken)))
    failed = [row for row in rows if row.fails]
    assert [(row.case, row.absent) for row in failed] == [("gate", "CUDA out of memory")]
    assert "did not run: CUDA out of memory" in row_line(failed[0], "")
    assert rows[-1].case == "linear" and rows[-1].right


def test_a_case_that_does_not_fit_into_memory_does_not_end_the_study(quick):
    from skipjoin.bench.device.kernels.study import Setting, study
    from skipjoin.core.clock import MonotonicClock

    def vast(weight):
        raise MemoryError("not that much")

    scenario = quick.model_copy(
        update={"cases": quick.cases[::-1]}
    )  # the products first, which are laid out before anything runs
    setting = Setting(CPU, torch.float32, 3, flex=False, sample_ns=1)
    rows = kernel_rows(study(scenario, replace(product(), linear=vast), setting, MonotonicClock()))
    assert (rows[0].case, rows[0].contestant, rows[0].absent) == ("linear", "skipjoin", "not that much") and rows[
        0
    ].fails
    assert {row.kernel for row in rows} == set(KERNELS) and all(row.right for row in rows[1:])


@pytest.mark.parametrize("dtype", BOUNDS)
def test_what_the_product_runs_is_right_in_every_dtype(studied, dtype):
    rows = studied(product_on(CPU, dtype, MODEL), dtype)
    kernels = kernel_rows(rows)
    assert {row.kernel for row in kernels} == set(KERNELS)
    for row in kernels:
        assert row.right and not row.fails
        assert 0 < row.us_min <= row.us <= row.us_max and row.roofline > 0
        if row.contestant == "skipjoin":
            assert row.ours_over_it == 1.0
            assert row.bound == (0.0 if row.kernel in ("staging", "move", "sampling") else BOUNDS[dtype])
    speeds = [row for row in rows if isinstance(row, SpeedRow)]
    assert [(one.name, one.unit) for one in speeds] == [("copy", "GB/s"), ("gemm", "GFLOP/s")]
    assert all(0 < one.low <= one.median <= one.high for one in speeds)


@pytest.mark.soak
# torch 2.13's own compiler still defines a class by a decorator that torch 2.13 warns of.
@pytest.mark.filterwarnings("ignore:.torch.jit.script_method. is deprecated:DeprecationWarning")
def test_flex_attention_takes_part_where_it_compiles(quick):
    from skipjoin.bench.device.kernels.study import Setting, study
    from skipjoin.core.clock import MonotonicClock

    setting = Setting(CPU, torch.float32, 3, flex=True, sample_ns=1)
    rows = kernel_rows(study(quick.only("mixed"), product(), setting, MonotonicClock()))
    (flex,) = (row for row in rows if row.contestant == "flex")
    assert not flex.absent, flex.absent
    assert flex.right and flex.error <= 1e-5
