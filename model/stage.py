"""Which layers of a model a stage of a pipeline has.

Owns `Stage` and the split of a model's layers into stages. It knows no tensor: what a layer and the
head cost is estimated from their sizes, so that all ranks come to the same split from config.json
alone. model/weights reads by it.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..core.errors import InvalidModel
from .config import ModelConfig


@dataclass(frozen=True, slots=True)
class Stage:
    """The layers that are here. `has_ends`: embedding and head are here as well."""

    layers: range
    has_ends: bool


def whole_model(config: ModelConfig) -> Stage:
    """The only stage of a model that is not divided."""
    return Stage(range(config.layers), has_ends=True)


def stages_of(config: ModelConfig, count: int) -> tuple[Stage, ...]:
    """The model in `count` stages, each with one layer at least, so that the dearest costs as little
    as it can. The first stage also has the embedding and the head. Raises InvalidModel for more
    stages than layers.

    An iteration costs a stage about what it reads of its weights, and all layers are as large. So
    the first stage has fewer layers than the others where the vocabulary is large, and the later
    ones share the rest evenly.
    """
    layers = config.layers
    if count > layers:
        raise InvalidModel(
            f"The {layers} layers of this model cannot be divided into {count} stages.",
            field="pipeline_parallel",
            limit=f"at most {layers}, one layer for each stage",
        )
    if count == 1:
        return (whole_model(config),)
    layer, head = _numbers_of_a_layer(config), config.vocab_size * config.embedding_width
    later = count - 1

    def dearest(first: int) -> int:
        return max(first * layer + head, -(-(layers - first) // later) * layer)

    ends = [min(range(1, layers - later + 1), key=dearest)]
    left = layers - ends[0]
    for number in range(1, count):
        ends.append(ends[0] + number * left // later)
    return tuple(Stage(range(start, end), has_ends=start == 0) for start, end in zip([0, *ends], ends, strict=False))


def _numbers_of_a_layer(config: ModelConfig) -> int:
    attention = 2 * config.hidden * config.head_dim * (config.heads + config.kv_heads)
    return attention + (3 if config.architecture.tensors.gated else 2) * config.hidden * config.intermediate
