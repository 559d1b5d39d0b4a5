"""The least work of an iteration, counted apart: by hand for one model, and by torch for a forward
pass that really runs.
"""

from __future__ import annotations

import pytest
import torch

from skipjoin.bench.device.step.work import decode_work, mean_work, prefill_work, weight_bytes
from skipjoin.model.presets import random_model

# `tiny`: 2 layers, hidden 64, 4 heads and 2 KV heads of 16, intermediate 128, 512 tokens.
LAYER = 128 * 64 + 64 * 64 + 256 * 64 + 64 * 128
BEHIND = 64 * 64 + 256 * 64 + 64 * 128
HEAD = 512 * 64
KV_LAYER = 2 * 2 * 16
NORMS = 4 * 64


@pytest.fixture(scope="module")
def tiny():
    return random_model("tiny", "cpu", "float32")


def test_a_decode_step_reads_weights_and_contexts_once(tiny) -> None:
    assert weight_bytes(tiny) == (2 * LAYER + HEAD + NORMS) * 4
    work = decode_work(tiny, [10, 100])
    assert work.bytes == weight_bytes(tiny) + 2 * 64 * 4 + 110 * 2 * KV_LAYER * 4
    assert work.flops == 2 * 2 * (2 * LAYER + HEAD) + 4 * 110 * 2 * 4 * 16


def test_a_window_bounds_what_is_read_and_multiplied() -> None:
    windowed = random_model("tiny-mistral", "cpu", "float32")
    assert {layer.window for layer in windowed.config.attention} == {64}
    assert decode_work(windowed, [64]) == decode_work(windowed, [300])
    assert decode_work(windowed, [63]).bytes < decode_work(windowed, [64]).bytes
    whole, cut = (prefill_work(random_model(name), [(0, 300)]) for name in ("tiny", "tiny-mistral"))
    seen = 64 * 65 // 2 + 236 * 64
    assert whole.flops - cut.flops == 4 * (300 * 301 // 2 - seen) * 2 * 4 * 16


def test_behind_the_last_attention_a_prefill_has_one_row(tiny) -> None:
    work = prefill_work(tiny, [(0, 90)])
    products = 90 * (LAYER + 128 * 64) + BEHIND + HEAD
    assert work.flops == 2 * products + 4 * (90 * 91 // 2) * 2 * 4 * 16
    assert work.bytes == weight_bytes(tiny) + 90 * 2 * KV_LAYER * 4


def test_chunks_multiply_the_same_and_read_weights_again(tiny) -> None:
    whole, parts = prefill_work(tiny, [(0, 90)]), prefill_work(tiny, [(0, 40), (40, 40), (80, 10)])
    assert parts.flops == whole.flops
    assert parts.bytes - whole.bytes == 2 * (weight_bytes(tiny) - (BEHIND + HEAD) * 4)


def test_the_mean_of_steps(tiny) -> None:
    works = [decode_work(tiny, [context]) for context in (10, 11, 12)]
    assert mean_work(works) == works[1]


def test_bytes_follow_the_precision() -> None:
    wide, narrow = (decode_work(random_model("tiny", "cpu", dtype), [50]) for dtype in ("float32", "bfloat16"))
    assert wide.bytes == 2 * narrow.bytes and wide.flops == narrow.flops
    assert torch.bfloat16.itemsize == 2
