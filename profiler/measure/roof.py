"""What a device allows a model at most: its linear layers alone, and reading its weights alone.

Owns the timing of both, the layers packed by oneDNN whatever the engine multiplies with. It knows
shapes, no batch, attention or sampler; `bench engine` sets the engines' rates beside it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch

from ...core.clock import MonotonicClock
from ...kernels.linear import DenseLinear, can_pack
from ...model.parts.linear import Linear, products_in
from ...model.weights.loading import load_model

FEWEST, LONGEST_NS = 3, 400_000_000
PROMPT_ROWS_AT_ONCE = 1024
"""A prompt pass is timed in pieces of so many rows, as engines take prompts in chunks."""


class LinearRoof:
    """A loaded model's, on the CPU."""

    def __init__(self, folder: str | Path, dtype: str, threads: int) -> None:
        """Raises InvalidModel, InvalidInput."""
        torch.set_num_threads(threads)
        model = load_model(folder, "cpu", dtype)
        self._dtype = model.dtype
        head = model.parts.head.product
        layers = [product for product in products_in(model.parts) if product is not head]
        self._head, self._layers = _packed_like(head), [_packed_like(linear) for linear in layers]
        self._clock = MonotonicClock()
        read = sum(linear.in_features * linear.out_features for linear in (*self._layers, self._head))
        self._weights = torch.ones(read, dtype=self._dtype)

    def versions(self) -> dict[str, str]:
        """What computes."""
        return {"torch": torch.__version__}

    def step_ns(self, rows: int) -> int:
        """Median time of all products of one decode step of `rows` tokens."""
        return self._median(lambda: self._products(rows, rows))

    def prompt_ns(self, rows: int, sampled: int) -> int:
        """Median time of all products of a prompt pass over `rows` tokens of which `sampled` reach
        the head.
        """
        whole, rest = divmod(rows, PROMPT_ROWS_AT_ONCE)
        pieces = [PROMPT_ROWS_AT_ONCE] * whole + ([rest] if rest else [])

        def passes() -> None:
            for piece in pieces:
                self._products(piece, 0)
            self._products(0, sampled)

        return self._median(passes)

    def read_ns(self) -> int:
        """Median time of reading as many bytes as the linear layers have, once, by a sum."""
        return self._median(lambda: self._weights.sum())

    @torch.inference_mode()
    def _products(self, rows: int, head_rows: int) -> None:
        inputs: dict[int, torch.Tensor] = {}
        for linear in self._layers if rows else ():
            if linear.in_features not in inputs:
                inputs[linear.in_features] = torch.ones(rows, linear.in_features, dtype=self._dtype)
            linear(inputs[linear.in_features])
        if head_rows:
            self._head(torch.ones(head_rows, self._head.in_features, dtype=self._dtype))

    def _median(self, what: Callable[[], object]) -> int:
        what()
        times: list[int] = []
        while len(times) < FEWEST or sum(times) < LONGEST_NS:
            begun_ns = self._clock.now_ns()
            what()
            times.append(self._clock.now_ns() - begun_ns)
        return int(median(times))


def _packed_like(linear: Linear) -> DenseLinear:
    """Numbers of the same shape, in oneDNN's layout where torch has it."""
    weight = torch.ones(linear.out_features, linear.in_features, dtype=linear.dtype)
    return DenseLinear(weight, form="onednn" if can_pack(linear.dtype) else "plain")
