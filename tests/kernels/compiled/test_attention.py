"""The attention kernel: head sizes, groups, windows, caps, splits, pages of any size, mixed
batches, and what it must not touch.
"""

from __future__ import annotations

import random

import pytest

DTYPES = ["float32", "float16", "bfloat16"]

LAYOUTS = {
    "a head of its own for every query": {"heads": 2, "kv_heads": 2, "head_dim": 64, "page_tokens": 16},
    "groups of three": {"heads": 6, "kv_heads": 2, "head_dim": 128, "page_tokens": 5},
    "one head for all": {"heads": 5, "kv_heads": 1, "head_dim": 80, "page_tokens": 1},
    "more queries than a small tile has rows": {"heads": 20, "kv_heads": 1, "head_dim": 64, "page_tokens": 4},
    "wide heads": {"heads": 2, "kv_heads": 1, "head_dim": 256, "page_tokens": 16},
}
MIXED = {"contexts": [1, 33, 19, 7, 40], "counts": [1, 1, 1, 7, 9]}
SMALL = [16, 16, 16, 32]  # rows, keys, decode split, chunk split


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_mixed_batch_is_one_launch(run, seed, layout, dtype):
    run("attention_cases.batch", dtype=dtype, seed=seed, **LAYOUTS[layout], **MIXED)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("window", "softcap"), [(None, None), (1, None), (9, None), (9, 3.0), (100, 3.0)])
def test_windows_and_caps_over_a_cut_context(run, seed, window, softcap, dtype):
    layout = {"heads": 4, "kv_heads": 2, "head_dim": 16, "page_tokens": 3}
    run("attention_cases.batch", dtype=dtype, seed=seed, window=window, softcap=softcap, sizes=SMALL, **layout, **MIXED)


SHAPES = {
    "decodes": ([5, 70, 16, 17, 1], [1] * 5),
    "chunks over nothing": ([9, 40], [9, 40]),
    "chunks over prefixes": ([30, 65], [1, 33]),
    "one token": ([1], [1]),
    "sequences that sit out": ([12, 4, 3, 50], [0, 4, 0, 1]),
    "no rows": ([4], [0]),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_batches_of_any_shape(run, seed, shape):
    contexts, counts = SHAPES[shape]
    layout = {"heads": 4, "kv_heads": 2, "head_dim": 16, "page_tokens": 4}
    run("attention_cases.batch", dtype="float32", seed=seed, contexts=contexts, counts=counts, sizes=SMALL, **layout)


def test_a_context_that_the_product_cuts(run, seed):
    layout = {"heads": 2, "kv_heads": 1, "head_dim": 64, "page_tokens": 16}
    run("attention_cases.batch", dtype="bfloat16", seed=seed, contexts=[700, 3], counts=[1, 1], **layout)


@pytest.mark.parametrize("dtype", DTYPES)
def test_company_changes_no_bit_of_a_decode(run, seed, dtype):
    run("attention_cases.alone_and_in_company", dtype=dtype, seed=seed)


@pytest.mark.parametrize(("page", "entry"), [(-1, 0), (8, 1), (2**30, 0)])
def test_a_page_outside_of_the_pool_is_refused(run, page, entry):
    run("attention_cases.checked", page=page, entry=entry)


def test_a_neighbours_bad_numbers_stay_there(run):
    run("attention_cases.neighbours_stay_apart", dtype="bfloat16")


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("window", [None, 1000])
def test_a_device_at_full_size(compiler, seed, dtype, window):
    layout = {"heads": 32, "kv_heads": 8, "head_dim": 128, "page_tokens": 16}
    batch = {"contexts": [4100, 1, 2500, 5000], "counts": [1, 1, 1, 700], "window": window}
    compiler.ask("attention_cases.batch", device="cuda", dtype=dtype, seed=seed, **layout, **batch)


@pytest.mark.soak
@pytest.mark.parametrize("case", range(60))
def test_any_batch(run, seed, case):
    source = random.Random(seed + case)
    kv_heads = source.choice([1, 2, 3])
    contexts = [source.randrange(1, 200) for _ in range(source.randrange(1, 9))]
    run(
        "attention_cases.batch",
        dtype=source.choice(DTYPES),
        seed=seed,
        heads=kv_heads * source.choice([1, 2, 5, 8]),
        kv_heads=kv_heads,
        head_dim=source.choice([64, 72, 96, 128, 192, 256]),
        page_tokens=source.choice([1, 2, 7, 16, 32]),
        contexts=contexts,
        counts=[source.choice([1, source.randrange(context + 1)]) for context in contexts],
        window=source.choice([None, source.randrange(1, 150)]),
        softcap=source.choice([None, 0.5, 30.0]),
        sizes=source.choice([None, SMALL, [32, 16, 64, 16]]),
    )
