"""The old import path of model/presets.py, which was published; new code imports from there."""

from ..model.presets import (
    CHAT_TEMPLATE,
    FEW_BYTES,
    PRESETS,
    Preset,
    check_room,
    init_model,
    preset_named,
    random_model,
)

__all__ = [
    "CHAT_TEMPLATE",
    "FEW_BYTES",
    "PRESETS",
    "Preset",
    "check_room",
    "init_model",
    "preset_named",
    "random_model",
]
