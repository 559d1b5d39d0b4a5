"""Which layers of a model see no further than a window.

Owns reading the sliding windows out of config.json, by the pattern of the family. It does not know
attention; config puts the answer into each layer's shape, and the kernels mask by it.
"""

from __future__ import annotations

from ...core.errors import InvalidModel
from ..architectures import Architecture, Windows
from ..model_json import Fields

_TYPES = {"full_attention": False, "sliding_attention": True, "attention": False}
"""What config.json may call a layer's attention -> whether it has a window; `attention` is an older
word for the first.
"""
MAX_WINDOW = 2**24


def layer_windows(architecture: Architecture, fields: Fields, layers: int, context: int) -> tuple[int | None, ...]:
    """For each layer, how many tokens a query sees, itself included; None: all. `context` bounds
    prompt and output together.

    Raises InvalidModel naming the field.
    """
    pattern = architecture.windows
    if pattern is Windows.NONE:
        _refuse_windows(architecture, fields, layers, context)
        return (None,) * layers
    window = fields.maybe_whole("sliding_window", 1, MAX_WINDOW)
    if pattern is Windows.LATE and not fields.flag("use_sliding_window"):
        window = None
    stated = _stated_types(fields, layers)
    windowed = _windowed(pattern, fields, layers, window) if stated is None else stated
    if pattern is Windows.ALL and windowed != [window is not None] * layers:
        raise InvalidModel(
            f"layer_types says that not all layers are alike, which {architecture.name} does not have.",
            field="layer_types",
            limit="sliding_attention for all layers, or full_attention for all where sliding_window is null",
        )
    if window is None and any(windowed):
        raise InvalidModel(
            "Some layers of this model have a sliding window, but sliding_window is not stated"
            f"{' or use_sliding_window is false' * (pattern is Windows.LATE)}.",
            field="sliding_window",
        )
    return tuple(window if inside else None for inside in windowed)


def _refuse_windows(architecture: Architecture, fields: Fields, layers: int, context: int) -> None:
    """A family without windows: Transformers would mask none, yet drop keys behind one from its
    cache.
    """
    types = _stated_types(fields, layers)
    window = fields.maybe_whole("sliding_window", 1, MAX_WINDOW)
    if (types is None and window is not None and window < context) or (types is not None and any(types)):
        raise InvalidModel(
            f"config.json asks for a sliding window, which {architecture.name} does not have.",
            field="sliding_window" if types is None else "layer_types",
            limit=f"null or at least the context of {context} tokens" if types is None else "full_attention",
        )


def _stated_types(fields: Fields, layers: int) -> list[bool] | None:
    """By layer whether layer_types gives it a window; None where it is not stated."""
    stated = fields.get("layer_types")
    if stated is None:
        return None
    if (
        not isinstance(stated, list)
        or len(stated) != layers
        or not all(isinstance(kind, str) and kind in _TYPES for kind in stated)
    ):
        raise InvalidModel(
            f"layer_types must name the attention of each of the {layers} layers.",
            field="layer_types",
            limit="full_attention or sliding_attention",
        )
    return [_TYPES[kind] for kind in stated]


def _windowed(pattern: Windows, fields: Fields, layers: int, window: int | None) -> list[bool]:
    if pattern is Windows.ALL:
        return [window is not None] * layers
    if pattern is Windows.LATE:
        first = fields.whole("max_window_layers", 0, 2**20)
        return [window is not None and i >= first for i in range(layers)]
    every = fields.whole("sliding_window_pattern", 1, 2**20)
    return [bool((i + 1) % every) for i in range(layers)]
