"""Norms, gates, the fused rotation and write, and pages on the move."""

from __future__ import annotations

import pytest

DTYPES = ["float32", "float16", "bfloat16"]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("rows", "hidden"), [(1, 1), (3, 37), (2, 256), (2, 5000)])
@pytest.mark.parametrize("residual", [False, True])
def test_norms(run, seed, rows, hidden, residual, dtype):
    for kind, biased in (("rms", False), ("layer", False), ("layer", True)):
        if hidden > 1 or kind == "rms":  # one number has no variance
            run(
                "row_cases.norm",
                dtype=dtype,
                rows=rows,
                hidden=hidden,
                seed=seed,
                kind=kind,
                residual=residual,
                biased=biased,
            )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("residual", [False, True])
def test_weights_in_float32(run, seed, residual, dtype):
    run("row_cases.norm", dtype=dtype, rows=3, hidden=37, seed=seed, residual=residual, wide_weight=True)


def test_a_mean_far_from_zero_costs_no_digits(run, seed):
    run("row_cases.norm", dtype="float32", rows=2, hidden=300, seed=seed, kind="layer", offset=30.0)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", ["silu", "gelu"])
@pytest.mark.parametrize(("rows", "width"), [(1, 1), (3, 37), (2, 1500)])
def test_gates(run, seed, rows, width, kind, dtype):
    run("row_cases.gate", dtype=dtype, rows=rows, width=width, seed=seed, kind=kind)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "layout",
    [
        {"heads": 4, "kv_heads": 4, "head_dim": 64, "page_tokens": 16, "tokens": 1},
        {"heads": 6, "kv_heads": 2, "head_dim": 16, "page_tokens": 3, "tokens": 11},
        {"heads": 71, "kv_heads": 1, "head_dim": 80, "page_tokens": 1, "tokens": 2},
        {"heads": 2, "kv_heads": 1, "head_dim": 256, "page_tokens": 4, "tokens": 5, "turned": 64},
    ],
)
def test_queries_turn_and_keys_and_values_reach_their_slots(run, seed, layout, dtype):
    run("slots_cases.write", dtype=dtype, seed=seed, **layout)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_row_without_a_slot_is_written_nowhere(run, seed, dtype):
    run("slots_cases.unwritten", dtype=dtype, seed=seed)


@pytest.mark.parametrize("slot", [-1, 8, 3])
def test_a_slot_that_is_not_there_or_taken_is_refused(run, slot):
    run("slots_cases.checked", slot=slot)


@pytest.mark.parametrize(
    ("dtype", "page_shape"),
    [("bfloat16", [2, 2, 1, 3, 5]), ("float32", [3]), ("float16", [4, 2, 2, 16, 64]), ("uint8", [7]), ("float64", [1])],
)
def test_pages_come_back_bit_for_bit(run, seed, dtype, page_shape):
    for pages, count in ((1, 1), (9, 4), (5, 5), (3, 0)):
        run("staging_cases.round_trip", dtype=dtype, page_shape=page_shape, pages=pages, count=count, seed=seed)


def test_a_page_that_is_not_there_or_named_twice_is_refused(run):
    run("staging_cases.checked")
