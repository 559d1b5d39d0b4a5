"""The jobs behind one point: how many, how long, when they come.

Owns the drawing of lengths from a trace or a shape. It does not know who serves them; `redraw` does. Who measured drew a few hundred requests at
random from a data set, started with an empty server and counted every one of them: so it is done here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...core.errors import InvalidTrace
from ...core.plan import Int32s
from ...workload import arrivals
from ...workload.requests import Workload
from ...workload.shape import Shape
from ...workload.source import open_source
from .panels import MAX_PROMPT, MAX_TOTAL

FROM_SHAPE = 20_000


@dataclass(frozen=True, slots=True, eq=False)
class Lengths:
    """int32[n] prompt and output tokens that jobs are drawn from; `left_out` rows were too long."""

    name: str
    prompt_tokens: Int32s
    output_tokens: Int32s
    left_out: int

    def jobs(self, count: int, rate: float, seed: int) -> Workload:
        """`count` rows at random, none twice before all were drawn, as Poisson arrivals; all are counted."""
        draw = np.random.Generator(np.random.PCG64([seed, 7]))
        rounds = -(-count // len(self.prompt_tokens))
        rows = np.concatenate([draw.permutation(len(self.prompt_tokens)) for _ in range(rounds)])[:count]
        return Workload(
            name=self.name,
            arrival_ns=arrivals.poisson(count, rate, seed),
            prompt_tokens=self.prompt_tokens[rows],
            output_tokens=self.output_tokens[rows],
            warmup=0,
            refused=0,
            seed=seed,
            recorded=False,
            timed=True,
        )


def open_lengths(name: str, data_folder: str | None, room_tokens: int) -> Lengths:
    """The rows of a trace, or many of a shape, without those that are too long. Raises InvalidTrace."""
    source = open_source(name, data_folder)
    if isinstance(source, Shape):
        prompts, outputs = source.draw(FROM_SHAPE, 0)
    else:
        prompts, outputs = source.prompt_tokens, source.output_tokens
    total = prompts.astype(np.int64) + outputs
    fits = (prompts <= MAX_PROMPT) & (total <= min(MAX_TOTAL, room_tokens))
    if not fits.any():
        raise InvalidTrace(f"{source.name} has no request of at most {MAX_TOTAL} tokens.", field="lengths")
    return Lengths(source.name, prompts[fits], outputs[fits], int((~fits).sum()))
