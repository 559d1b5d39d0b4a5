"""Which family a config.json is of.

Owns reading `architectures`, `model_type` and `auto_map` together, and the refusal of a folder in
which they disagree. It does not read shapes; config asks it first, and registry.py has the rows.
"""

from __future__ import annotations

from typing import Any

from ..core.errors import InvalidModel
from .architectures import Architecture
from .registry import find_architecture, find_model_type, known_architectures


def family_of(raw: dict[str, Any]) -> Architecture:
    """The row that config.json asks for.

    `architectures` names it; where that is missing or has several names, `model_type` decides, as
    in Transformers. Raises InvalidModel for a family that is not known, one that the two disagree
    about, or code in the folder that is not the family's own.
    """
    names, model_type = raw.get("architectures") or [], raw.get("model_type")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InvalidModel("architectures must be a list of names.", field="architectures", limit=_known())
    typed = find_model_type(model_type) if isinstance(model_type, str) else None
    row = _named(names, typed, raw)
    if row.model_type is not None and model_type is not None and model_type != row.model_type:
        raise InvalidModel(
            f"config.json says the architecture {row.name} and the model_type {str(model_type)[:40]!r}, which are "
            "two different models.",
            field="model_type",
            limit=row.model_type,
        )
    _refuse_other_code(row, raw)
    return row


def _named(names: list[str], typed: Architecture | None, raw: dict[str, Any]) -> Architecture:
    if not names:
        if typed is None:
            raise InvalidModel(
                "config.json must name its architecture, or a model_type that is known.",
                field="architectures",
                limit=_known(),
            )
        return typed
    if typed is not None and typed.name in names:
        return typed
    if len(names) > 1:
        raise InvalidModel(
            f"config.json names {len(names)} architectures, and model_type is of none of them.",
            field="architectures",
            limit=_known(),
        )
    try:
        return find_architecture(names[0])
    except InvalidModel as unknown:
        if raw.get("auto_map"):
            raise InvalidModel(
                f"{unknown.message} Its code is in the folder (auto_map), and is never run.",
                field=unknown.field,
                limit=unknown.limit,
            ) from None
        raise


def _refuse_other_code(row: Architecture, raw: dict[str, Any]) -> None:
    """Published folders often bring a copy of the code that Transformers has itself: it has the
    same name.
    """
    auto_map = raw.get("auto_map")
    code = auto_map.get("AutoModelForCausalLM") if isinstance(auto_map, dict) else auto_map
    if code is not None and (not isinstance(code, str) or code.rpartition(".")[2] != row.name):
        raise InvalidModel(
            f"config.json asks for code from the model folder (auto_map: {str(code)[:80]}), which is never run and "
            f"is not {row.name}. "
            "Use a model of a known architecture.",
            field="auto_map",
            limit=row.name,
        )


def _known() -> str:
    return f"one of {', '.join(known_architectures())}"
