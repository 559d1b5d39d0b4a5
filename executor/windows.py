"""Which layers of a model see no further than a window.

Owns reading the sliding windows out of config.json, by the pattern of the family. It does not know attention; config puts the answer into each
layer's shape, and the kernels mask by it.
"""

from __future__ import annotations

from ..core.errors import InvalidModel
from .architectures import Architecture, Windows
from .model_json import Fields

_TYPES = ("full_attention", "sliding_attention")
MAX_WINDOW = 2**24


def layer_windows(architecture: Architecture, fields: Fields, layers: int) -> tuple[int | None, ...]:
    """For each layer, how many tokens a query sees, itself included; None: all. Raises InvalidModel naming the field."""
    if architecture.windows is Windows.NONE:
        return (None,) * layers
    window = fields.maybe_whole("sliding_window", 1, MAX_WINDOW)
    if architecture.windows is Windows.LATE and not fields.flag("use_sliding_window"):
        window = None
    if window is None and architecture.windows is not Windows.PATTERN:
        return (None,) * layers
    windowed = _windowed(architecture.windows, fields, layers)
    if window is None and any(windowed):
        raise InvalidModel(
            "Some layers of this model have a sliding window, but sliding_window is not stated.", field="sliding_window"
        )
    return tuple(window if inside else None for inside in windowed)


def _windowed(pattern: Windows, fields: Fields, layers: int) -> list[bool]:
    if pattern is Windows.ALL:
        return [True] * layers
    stated = fields.get("layer_types")
    if stated is not None:
        if not isinstance(stated, list) or len(stated) != layers or any(kind not in _TYPES for kind in stated):
            raise InvalidModel(
                f"layer_types must name the attention of each of the {layers} layers.",
                field="layer_types",
                limit=" or ".join(_TYPES),
            )
        return [kind == "sliding_attention" for kind in stated]
    if pattern is Windows.LATE:
        first = fields.whole("max_window_layers", 0, 2**20)
        return [i >= first for i in range(layers)]
    every = fields.whole("sliding_window_pattern", 1, 2**20)
    return [bool((i + 1) % every) for i in range(layers)]
