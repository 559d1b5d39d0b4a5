"""Shapes: drawing is determined by the seed and keeps the quantiles and the joint structure of what
it was fitted on.
"""

from __future__ import annotations

import json

import numpy as np
import pytest

from skipjoin.workload import fit, shape
from skipjoin.workload.shape import Shape, load_shape, shape_names
from skipjoin.workload.trace import Trace


@pytest.mark.parametrize("name", shape_names())
def test_a_draw_keeps_means_and_is_determined(name: str) -> None:
    table = load_shape(name)
    prompts, outputs = table.draw(50_000, 7)
    assert prompts.dtype == outputs.dtype == np.int32
    assert prompts.min() >= 1
    assert outputs.min() >= 1
    assert prompts.mean() == pytest.approx(table.mean_prompt_tokens, rel=0.04)
    assert outputs.mean() == pytest.approx(table.mean_output_tokens, rel=0.04)
    again, _ = table.draw(50_000, 7)
    assert np.array_equal(prompts, again)
    first, _ = table.draw(100, 7)
    assert np.array_equal(prompts[:100], first)
    other, _ = table.draw(50_000, 8)
    assert not np.array_equal(prompts, other)


def _two_kinds(rows: int = 20_000) -> Trace:
    """Half short prompts with long answers, half long prompts with short ones."""
    random = np.random.default_rng(3)
    half = rows // 2
    prompts = np.concatenate((random.integers(10, 100, half), random.lognormal(7, 0.5, half).astype(int) + 200))
    outputs = np.concatenate((random.lognormal(6, 0.6, half).astype(int) + 50, random.integers(1, 20, half)))
    return Trace("two", np.arange(rows), prompts.astype(np.int32), outputs.astype(np.int32))


def _fitted(trace: Trace) -> Shape:
    raw = json.loads(fit.encode(fit.fit_shape(trace, trace.name, "made up")))
    return shape.parse_shape(raw)


def test_quantiles_and_joint_structure_survive() -> None:
    trace = _two_kinds()
    prompts, outputs = _fitted(trace).draw(40_000, 1)
    for drawn, real in ((prompts, trace.prompt_tokens), (outputs, trace.output_tokens)):
        for probability in (0.05, 0.25, 0.4, 0.6, 0.75, 0.95, 0.99):
            expected = np.quantile(real, probability)
            assert np.quantile(drawn, probability) == pytest.approx(expected, rel=0.06, abs=1)
    short = prompts < 150
    assert short.mean() == pytest.approx(0.5, abs=0.01)
    assert outputs[short].min() >= 50
    assert outputs[~short].max() < 20


def test_a_constant_trace_stays_constant() -> None:
    ones = np.full(50, 5, dtype=np.int32)
    prompts, outputs = _fitted(Trace("flat", np.arange(50), ones, ones * 2)).draw(1000, 0)
    assert set(prompts.tolist()) == {5}
    assert set(outputs.tolist()) == {10}
