"""Length shapes: small quantile tables of real workloads, to draw requests from.

Owns `Shape`, its JSON form in `shapes/` and the drawing of lengths by seed. Prompt and output
lengths are drawn jointly: a table has ten groups of equal share by prompt length, each with its own
output quantiles. It does not know arrivals; `fit` makes the tables, `source` loads them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.errors import InvalidTrace
from ..core.plan import Int32s

FOLDER = Path(__file__).parent / "shapes"
Float64s = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """One tenth of the requests by prompt length: float64[k] token counts at the shape's
    probabilities.
    """

    prompt_tokens: Float64s
    output_tokens: Float64s


@dataclass(frozen=True, slots=True, eq=False)
class Shape:
    """Joint quantiles of prompt and output lengths; `source` says whose, `rows` how many requests
    stand behind it.
    """

    name: str
    source: str
    rows: int
    mean_prompt_tokens: float
    mean_output_tokens: float
    probabilities: Float64s
    groups: tuple[Group, ...]

    def draw(self, count: int, seed: int) -> tuple[Int32s, Int32s]:
        """int32[count] prompt and output tokens, each >= 1; the first k of a longer draw are the
        draw of k.

        Three uniform numbers a request: its group, its place among the group's prompts, its place
        among the group's outputs.
        """
        uniform = np.random.Generator(np.random.PCG64([seed, 2])).random((count, 3))
        chosen = (uniform[:, 0] * len(self.groups)).astype(np.int64)
        prompts = np.empty(count, dtype=np.int32)
        outputs = np.empty(count, dtype=np.int32)
        for number, group in enumerate(self.groups):
            mine = chosen == number
            prompts[mine] = np.rint(np.interp(uniform[mine, 1], self.probabilities, group.prompt_tokens))
            outputs[mine] = np.rint(np.interp(uniform[mine, 2], self.probabilities, group.output_tokens))
        return np.maximum(prompts, 1), np.maximum(outputs, 1)


def shape_names() -> list[str]:
    """The shapes that ship."""
    return sorted(path.stem for path in FOLDER.glob("*.json"))


def load_shape(name: str) -> Shape:
    """The shape that ships under `name`. Raises InvalidTrace listing those that do."""
    names = shape_names()
    if name not in names:
        raise InvalidTrace(f"There is no shape {name!r}; there are {', '.join(names)}.", field="trace")
    return parse_shape(json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8")))


def parse_shape(raw: dict[str, Any]) -> Shape:
    """A shape from its JSON form; the file is ours, so a fault in it is a bug."""
    return Shape(
        name=raw["name"],
        source=raw["source"],
        rows=raw["rows"],
        mean_prompt_tokens=raw["mean_prompt_tokens"],
        mean_output_tokens=raw["mean_output_tokens"],
        probabilities=np.asarray(raw["probabilities"], dtype=np.float64),
        groups=tuple(
            Group(
                np.asarray(group["prompt_tokens"], dtype=np.float64),
                np.asarray(group["output_tokens"], dtype=np.float64),
            )
            for group in raw["groups"]
        ),
    )
