"""Pool sizes that a setting leaves open, and those that no machine has."""

from __future__ import annotations

import logging

import pytest
import torch

from skipjoin.core.errors import InvalidInput
from skipjoin.executor.capacity import pool_shape, resolve_dtype, use_threads
from skipjoin.kernels.layout import KvLayout
from skipjoin.model.weights.memory import available_bytes


def page_bytes(model):
    config = model.config
    return KvLayout(config.layers, config.kv_heads, 16, config.head_dim).page_bytes(model.dtype)


def test_open_sizes_fit_into_memory_and_hold_no_more_than_two_batches(tiny64):
    shape = pool_shape(tiny64, kv_tokens=None, host_kv_tokens=None, max_batch=2)
    assert shape.num_pages <= 4 * -(-tiny64.config.max_context_tokens // 16)
    assert (shape.num_pages + shape.num_host_pages) * page_bytes(tiny64) < available_bytes()


def test_asked_sizes_are_rounded_down_to_pages(tiny64):
    shape = pool_shape(tiny64, kv_tokens=100, host_kv_tokens=31, max_batch=2)
    assert (shape.num_pages, shape.num_host_pages) == (6, 1)


@pytest.mark.parametrize(("field", "other"), [("kv_tokens", "host_kv_tokens"), ("host_kv_tokens", "kv_tokens")])
def test_more_than_there_is_is_refused_by_name(tiny64, field, other):
    tokens = 16 * (available_bytes() // page_bytes(tiny64) + 1000)
    with pytest.raises(InvalidInput, match="GiB") as refused:
        pool_shape(tiny64, **{field: tokens, other: 64}, max_batch=2)
    assert refused.value.field == field


def test_less_than_a_page_is_refused(tiny64):
    with pytest.raises(InvalidInput, match="room for a page"):
        pool_shape(tiny64, kv_tokens=15, host_kv_tokens=0, max_batch=2)


@pytest.mark.parametrize(("capability", "dtype"), [((8, 0), torch.bfloat16), ((7, 5), torch.float32)])
def test_bfloat16_is_taken_where_the_device_has_it_not_where_torch_pretends(monkeypatch, capability, dtype):
    asked = torch.device("cuda", 3)
    capabilities = {asked: capability}
    monkeypatch.setattr(torch.cuda, "get_device_capability", capabilities.__getitem__)
    assert resolve_dtype("auto", asked) is dtype


@pytest.fixture
def threads():
    """torch's count as it was, afterwards."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("offered", "asked", "chosen", "why"),
    [
        (4, None, 3, "door"),
        (3, None, 2, "door"),
        (2, None, 2, "all there are"),
        (1, None, 1, "all there are"),
        (2, 2, 2, "threads"),
        (1, 3, 3, "threads"),
    ],
)
def test_threads_are_chosen_and_said(threads, caplog, offered, asked, chosen, why):
    threads(offered)
    with caplog.at_level(logging.INFO, "skipjoin.engine"):
        use_threads(asked)
    assert torch.get_num_threads() == chosen
    assert f"{chosen} of {offered} CPU threads" in caplog.text and why in caplog.text
