"""What a CPU computes, in plain torch and compiled from C, against the references: windows, caps,
scales, decodes beside chunks, foreign pages.
"""

from __future__ import annotations

import math
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from skipjoin.kernels import elementwise, ragged_attention, slots
from skipjoin.kernels.dispatch import REFERENCE, kernels_for
from skipjoin.kernels.elementwise import rotary_angles
from skipjoin.kernels.layout import KvLayout, PagedKv
from skipjoin.kernels.native import build
from skipjoin.kernels.native.library import library
from skipjoin.kernels.ragged import RaggedBatch, pages_of
from skipjoin.kernels.ragged_attention import AttentionShape

torch.set_num_threads(1)

LAYOUT = KvLayout(layers=2, kv_heads=2, page_tokens=7, head_dim=48)
HEADS = 6
CPU = torch.device("cpu")
NATIVE = pytest.mark.needs("a C compiler")
SETS = ["torch", pytest.param("native", marks=NATIVE)]


def kernels(name, dtype=torch.float64):
    found = REFERENCE if name == "torch" else kernels_for(CPU, dtype)
    assert (found is REFERENCE) == (name == "torch")
    return found


def world(members, seed, dtype=torch.float64, layout=LAYOUT, heads=HEADS):
    """(pool, batch, queries) for (context, rows) of each sequence; the pages of nobody are NaN,
    numbers behind a context are foreign.
    """
    torch.manual_seed(seed)
    contexts, counts = (np.array(column) for column in zip(*members, strict=True))
    pages = pages_of(contexts, layout.page_tokens)
    order = torch.randperm(int(pages.sum()) + 2)
    pool = torch.randn(layout.pool_shape(len(order))).to(dtype)
    pool[order[-2:]] = math.nan
    tables = torch.full((len(members), int(pages.max())), int(order[-1]))
    for i, (first, count) in enumerate(zip(np.cumsum(pages) - pages, pages, strict=True)):
        tables[i, :count] = order[first : first + count]
    starts = np.concatenate([[0], np.cumsum(counts)])
    qkv = torch.randn(int(starts[-1]) + 1, heads + 2 * layout.kv_heads, layout.head_dim).to(dtype)
    return PagedKv(pool, layout), RaggedBatch(tables, starts, contexts), qkv[:, :heads]


def prepared(found, kv, batch):
    return found.prepare(kv, batch, torch.zeros(batch.rows, dtype=torch.int64))


sequences = st.lists(
    st.integers(1, 90).flatmap(lambda c: st.tuples(st.just(c), st.one_of(st.just(1), st.integers(0, c)))),
    min_size=1,
    max_size=7,
)
shapes = st.builds(
    AttentionShape,
    st.just(HEADS),
    st.floats(0.01, 1.0),
    st.one_of(st.none(), st.integers(1, 99)),
    st.one_of(st.none(), st.floats(0.3, 60.0)),
)
PLAIN, NARROW = AttentionShape(HEADS, 0.1), AttentionShape(HEADS, 0.3, window=301, softcap=2.0)


@pytest.mark.parametrize("name", SETS)
@given(sequences, st.lists(shapes, min_size=1, max_size=3), st.integers(0, 999))
@example([(700, 1), (520, 300), (256, 1), (257, 1), (513, 513)], [PLAIN, NARROW], 1)
@example([(400, 1), (300, 40)], [AttentionShape(HEADS, 0.3, window=37), AttentionShape(HEADS, 1.0, window=1)], 2)
def test_attend_is_the_reference(name, members, layer_shapes, seed):
    """One prepared batch serves layers of different windows, caps and scales."""
    kv, batch, queries = world(members, seed)
    found = kernels(name)
    ready = prepared(found, kv, batch)
    for shape in layer_shapes:
        want, got = (torch.full(queries.shape, 7.0, dtype=torch.float64) for _ in range(2))
        ragged_attention.attend(kv, 1, shape, batch, queries, want, checked=True)
        found.attend(kv, 1, shape, ready, queries, got)
        torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-9)


@NATIVE
@pytest.mark.parametrize("kv_heads", [1, 2, 3])
@pytest.mark.parametrize("group", [1, 2, 3, 5, 8, 32, 71])
@pytest.mark.parametrize("head_dim", [24, 64, 80, 128, 256, 512, 576])
def test_heads_of_any_size_and_number(group, kv_heads, head_dim):
    """Those that are no whole vectors, too long or too many a key are plain torch's."""
    layout, heads = KvLayout(1, kv_heads, 16, head_dim), group * kv_heads
    kv, batch, queries = world([(37, 1), (20, 20), (33, 5)], 1, torch.float32, layout, heads)
    shape = AttentionShape(heads, head_dim**-0.5)
    exact = torch.empty(queries.shape, dtype=torch.float64)
    ragged_attention.attend(PagedKv(kv.pool.double(), layout), 0, shape, batch, queries.double(), exact)
    found = kernels("native", torch.float32)
    got = torch.empty(queries.shape)
    found.attend(kv, 0, shape, prepared(found, kv, batch), queries, got)
    assert (got[:-1].double() - exact[:-1]).abs().max() <= 1e-5 * exact[:-1].abs().max()


CASES = [
    ("torch", "float32", 1e-5),
    ("torch", "float16", 5e-3),
    ("torch", "bfloat16", 3e-2),
    pytest.param("native", "float32", 1e-5, marks=NATIVE),
]


@pytest.mark.parametrize(("name", "dtype", "tolerance"), CASES)
@pytest.mark.parametrize("softcap", [None, 5.0])
def test_smaller_precisions_stay_near(name, dtype, tolerance, softcap):
    kv, batch, queries = world([(400, 1), (23, 1), (9, 9), (30, 7)], 1, getattr(torch, dtype))
    shape = AttentionShape(HEADS, 0.5, 12, softcap)
    exact = torch.empty(queries.shape, dtype=torch.float64)
    ragged_attention.attend(PagedKv(kv.pool.double(), LAYOUT), 0, shape, batch, queries.double(), exact)
    got = torch.empty(queries.shape, dtype=queries.dtype)
    found = kernels(name, queries.dtype)
    found.attend(kv, 0, shape, prepared(found, kv, batch), queries, got)
    rows = slice(0, batch.rows)
    assert (got[rows].double() - exact[rows]).abs().max() <= tolerance * exact[rows].abs().max()


@NATIVE
@pytest.mark.parametrize("threads", [1, 2])
def test_company_changes_no_bit(threads):
    """A decode's numbers, and a chunk's, are the same alone and in company, on one thread and on
    several.
    """
    torch.set_num_threads(threads)
    try:
        members = [(500, 1), (3, 1), (260, 90), (1, 1), (80, 80)]
        kv, batch, queries = world(members, 3, torch.float32)
        found, shape = kernels("native", torch.float32), AttentionShape(HEADS, 0.2)
        together = torch.empty(queries.shape)
        found.attend(kv, 0, shape, prepared(found, kv, batch), queries, together)
    finally:
        torch.set_num_threads(1)
    for i, (context, count) in enumerate(members):
        lonely = RaggedBatch(batch.tables[i : i + 1], np.array([0, count]), np.array([context]))
        rows = slice(int(batch.starts[i]), int(batch.starts[i + 1]))
        out = torch.empty(queries[rows].shape)
        found.attend(kv, 0, shape, prepared(found, kv, lonely), queries[rows], out)
        assert torch.equal(out, together[rows])


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_bad_numbers_come_through_for_their_owner_alone(name, bad):
    kv, batch, queries = world([(300, 1), (20, 1), (30, 9)], 3)
    kv.pool[batch.tables[1, 0], :, 0] = bad
    found, out = kernels(name), torch.empty(queries.shape, dtype=queries.dtype)
    found.attend(kv, 1, AttentionShape(HEADS, 0.2), prepared(found, kv, batch), queries, out)
    assert not out[1].isfinite().any() and out[[0, *range(2, 11)]].isfinite().all()
    x = torch.ones(2, 96, dtype=torch.float64)
    x[0, 5] = bad
    normed, gated = found.rms_norm(x, torch.ones(96, dtype=torch.float64), 1e-5), found.silu_gate(x)
    assert not normed[0].isfinite().all() and normed[1].isfinite().all()
    assert not gated[0, 5].isfinite() and gated[1].isfinite().all()


@pytest.mark.parametrize("name", SETS)
@given(st.sampled_from([0, 12, 24]), st.integers(0, 999))
def test_the_write_is_the_reference(name, pairs, seed):
    """All, half and none of a head's elements are turned; nothing else in the pool changes."""
    torch.manual_seed(seed)
    pool = torch.randn(LAYOUT.pool_shape(5), dtype=torch.float64)
    first, second = PagedKv(pool.clone(), LAYOUT), PagedKv(pool.clone(), LAYOUT)
    qkv = torch.randn(4, HEADS + 2 * LAYOUT.kv_heads, LAYOUT.head_dim, dtype=torch.float64)
    places = torch.randperm(5 * LAYOUT.page_tokens)[:4]
    cos, sin = rotary_angles(torch.tensor([0, 3, 9, 77]), torch.rand(pairs), torch.float64)
    batch = RaggedBatch(torch.zeros(4, 1, dtype=torch.int64), np.arange(5), np.ones(4, dtype=np.int64))
    found = kernels(name)
    want, got = qkv.clone(), qkv.clone()
    slots.rotate_and_write(first, 1, want, cos, sin, places)
    found.rotate_and_write(second, 1, got, cos, sin, found.prepare(second, batch, places))
    torch.testing.assert_close(second.pool, first.pool)
    torch.testing.assert_close(got[:, :HEADS], want[:, :HEADS])


@NATIVE
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@given(
    st.integers(1, 9),
    st.sampled_from([1, 2, 5, 6, 16, 17, 35]),
    st.integers(0, 3),
    st.sampled_from([1e-3, 1.0, 300.0]),
    st.integers(0, 999),
)
def test_norms_and_gates_are_the_reference(dtype, rows, sixteens, odd, size, seed):
    torch.manual_seed(seed)
    width = 16 * sixteens
    x, residual = (torch.randn(rows, width, dtype=dtype) * size for _ in range(2))
    weight, both = torch.randn(width, dtype=dtype), torch.randn(rows, 2 * (width + odd), dtype=dtype) * size
    found = kernels("native", dtype)
    torch.testing.assert_close(found.rms_norm(x, weight, 1e-5), elementwise.rms_norm(x, weight, 1e-5))
    kept, old = residual.clone(), residual.clone()
    got = found.add_rms_norm_(x.clone(), kept, weight, 1e-5)
    torch.testing.assert_close(got, elementwise.add_rms_norm_(x.clone(), old, weight, 1e-5))
    torch.testing.assert_close(kept, old)
    # Against float64: where 1 + tanh is nearly nothing, float32 leaves the reference few digits.
    near = {"rtol": 1e-5, "atol": 1e-6} if dtype is torch.float32 else {"rtol": 1e-9, "atol": 1e-12}
    torch.testing.assert_close(found.silu_gate(both), elementwise.silu_gate(both.double()).to(dtype), **near)
    torch.testing.assert_close(found.gelu_gate(both), elementwise.gelu_gate(both.double()).to(dtype), **near)


@NATIVE
def test_heads_are_normed_with_weights_of_their_own():
    """x[n, heads, head_dim], out of a wider row, with weight[heads, head_dim]."""
    x, weight = torch.randn(5, 7, 48)[:, 1:5], torch.randn(4, 48)
    torch.testing.assert_close(
        kernels("native", torch.float32).rms_norm(x, weight, 1e-6), elementwise.rms_norm(x, weight, 1e-6)
    )


@NATIVE
def test_what_does_not_fit_stays_with_torch():
    assert kernels_for(torch.device("meta"), torch.float32) is REFERENCE
    assert kernels_for(CPU, torch.bfloat16) is REFERENCE
    odd = torch.randn(3, 34)
    found = kernels("native", torch.float32)
    weight = torch.rand(34)
    torch.testing.assert_close(found.rms_norm(odd, weight, 1e-5), elementwise.rms_norm(odd, weight, 1e-5))


@pytest.fixture
def fresh(monkeypatch, tmp_path):
    """No library is remembered, and none lies in the cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("SKIPJOIN_NATIVE", raising=False)
    library.cache_clear()
    yield tmp_path / "skipjoin" / "native"
    library.cache_clear()


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ({"PATH": "", "CC": ""}, "no C compiler"),
        ({"CC": "false"}, "failed"),
        ({"CC": "{slow}"}, "longer than"),
    ],
)
def test_without_a_library_torch_computes_and_the_log_says_why(fresh, monkeypatch, caplog, how, reason):
    monkeypatch.setattr(build, "_TIMEOUT_S", 0.2)
    slow = fresh.parent.parent / "slow"
    slow.write_text("#!/bin/sh\nsleep 9")
    slow.chmod(0o700)
    for variable, value in how.items():
        monkeypatch.setenv(variable, value.format(slow=slow))
    for _ in range(2):
        assert kernels_for(CPU, torch.float32) is REFERENCE
    assert caplog.text.count("not compiled") == 1 and reason in caplog.text


def test_a_compiler_that_is_killed_leaves_no_process_of_its_own_behind(fresh, monkeypatch):
    monkeypatch.setattr(build, "_TIMEOUT_S", 1)
    slow, pids = fresh.parent.parent / "slow", fresh.parent.parent / "pids"
    slow.write_text(f"#!/bin/sh\nsleep 60 & echo $! >> {pids}; wait")
    slow.chmod(0o700)
    monkeypatch.setenv("CC", str(slow))
    assert kernels_for(CPU, torch.float32) is REFERENCE
    started = pids.read_text().split()
    assert started
    until = time.monotonic() + 20  # a busy machine takes its time to end what was killed
    while (left := [pid for pid in started if _runs(pid)]) and time.monotonic() < until:
        time.sleep(0.01)
    assert left == []


def _runs(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@NATIVE
def test_a_folder_that_others_can_write_to_is_not_trusted(fresh, caplog):
    fresh.mkdir(parents=True)
    fresh.chmod(0o777)
    assert kernels_for(CPU, torch.float32) is REFERENCE
    assert "not this user's alone" in caplog.text and not list(fresh.iterdir())


def test_it_can_be_switched_off(fresh, monkeypatch, caplog):
    monkeypatch.setenv("SKIPJOIN_NATIVE", "off")
    assert kernels_for(CPU, torch.float32) is REFERENCE
    assert not caplog.text and not fresh.exists()


@NATIVE
def test_what_was_built_is_kept_and_what_is_old_goes(fresh):
    assert library(torch.float64) is not None
    (kept,) = fresh.iterdir()
    before = kept.stat().st_mtime_ns
    library.cache_clear()
    assert library(torch.float64) is not None and kept.stat().st_mtime_ns == before
    for i in range(12):
        (fresh / f"{i}.so").write_bytes(b"")
    library.cache_clear()
    assert library(torch.float32) is not None
    assert len(list(fresh.iterdir())) == 8
