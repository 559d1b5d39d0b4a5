"""Every product of every family goes through the port: another form of product can take the place of
the dense one, and parts do not notice.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from plan_driver import Job, PlanDriver

import skipjoin
from skipjoin.executor.runner import TorchExecutor
from skipjoin.kernels.linear import DenseLinear
from skipjoin.kvstore.device.pool import PoolShape
from skipjoin.model.parts.linear import Linear, products_in
from skipjoin.model.presets import PRESETS, random_model
from skipjoin.model.weights.assembly import Assembler
from skipjoin.model.weights.loaded import LoadedModel
from skipjoin.model.weights.random_weights import random_tensors

TINY = [name for name, preset in PRESETS.items() if preset.hidden == 64]


@dataclass
class Halves:
    """Two products, each of half the outputs: as two devices would hold them."""

    upper: DenseLinear
    lower: DenseLinear

    @property
    def in_features(self):
        return self.upper.in_features

    @property
    def out_features(self):
        return self.upper.out_features + self.lower.out_features

    @property
    def dtype(self):
        return self.upper.dtype

    def warm_up(self, rows):
        self.upper.warm_up(rows)
        self.lower.warm_up(rows)

    def __call__(self, x):
        return torch.cat([self.upper(x), self.lower(x)], dim=1)


class Held:
    """Tensors in memory, as a source."""

    def __init__(self, tensors):
        self.tensors, self.names = tensors, frozenset(tensors)

    def numbers(self, name):
        return self.tensors[name].numel()

    def read(self, name, shape):
        assert self.tensors[name].shape == shape
        return self.tensors[name]


def halved(weight, bias):
    half = len(weight) // 2
    biases = (None, None) if bias is None else (bias[:half], bias[half:])
    return Halves(DenseLinear(weight[:half], biases[0]), DenseLinear(weight[half:], biases[1]))


def greedy(model):
    jobs = [Job(i, list(range(3 + i, 30 + 7 * i)), 16) for i in range(3)]
    executor = TorchExecutor(model, PoolShape(40, 0))
    PlanDriver(executor, chunk=16).run(jobs)
    executor.close()
    return [job.tokens for job in jobs]


@pytest.mark.parametrize("name", TINY)
def test_products_in_two_halves_give_the_same_tokens(name):
    config, device, dtype = PRESETS[name].config, torch.device("cpu"), torch.float64
    held = Held(dict(random_tensors(config, 5, dtype)))
    dense, shared = (
        LoadedModel(config, Assembler(config, held, device, dtype, product=product).assemble(), device, dtype)
        for product in (DenseLinear, halved)
    )
    assert all(isinstance(product, DenseLinear) for product in products_in(dense.parts))
    found = products_in(shared.parts)
    assert len(found) == len(products_in(dense.parts)) and all(isinstance(product, Halves) for product in found)
    assert greedy(shared) == greedy(dense)


def test_what_the_port_asks_is_what_the_dense_product_has():
    product = random_model("tiny").parts.head.product
    assert isinstance(product, Linear) and not isinstance(torch.zeros(2, 2), Linear)
    assert (product.in_features, product.out_features, product.dtype) == (64, 512, torch.float32)


def test_parts_know_no_form_of_product():
    folder = Path(skipjoin.__file__).parent / "model" / "parts"
    for path in folder.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            assert not (isinstance(node, ast.ImportFrom) and (node.module or "").endswith("kernels.linear")), path.name
