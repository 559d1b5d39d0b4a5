"""Which architectures are known: the rows of families/, and rows that others bring.

Owns the look-up by the name in config.json, `register` for a process of one's own, and the entry
point group by which an installed package brings rows into every process of a server. It does not
read model folders; config asks it.
"""

from __future__ import annotations

from functools import cache
from importlib.metadata import entry_points

from ..core.errors import InvalidInput, InvalidModel
from .architectures import Architecture
from .families import FAMILIES

ENTRY_POINTS = "skipjoin.architectures"
_registered: dict[str, Architecture] = {}
_CLASSIFIER = "its head gives classes, not the next token"
_KINDS = {
    "ForSequenceClassification": _CLASSIFIER,
    "ForTokenClassification": _CLASSIFIER,
    "ForQuestionAnswering": _CLASSIFIER,
    "RewardModel": _CLASSIFIER,
    "DoubleHeadsModel": _CLASSIFIER,
    "ForMaskedLM": "it fills gaps and does not go on with a text",
    "ForSeq2SeqLM": "an encoder and a decoder",
    "ForConditionalGeneration": "a model of text with images, sound or an encoder, of which only Gemma 3's text is "
    "served",
    "Model": "a decoder without a head that gives the next token",
}
"""How the name of an architecture ends -> what it is, where that says why it is not served."""


def register(row: Architecture) -> None:
    """Make a row known in this process. Raises InvalidInput when another row has its name, or it
    contradicts itself.
    """
    if (wrong := row.contradiction()) is not None:
        raise InvalidInput(f"The architecture {row.name[:80]!r} cannot be: {wrong}.", field="architectures")
    known = _registered.get(row.name) or _shipped().get(row.name)
    if known is not None and known is not row:
        raise InvalidInput(f"The architecture {row.name[:80]!r} is known already.", field="architectures")
    _registered[row.name] = row


def known_architectures() -> tuple[str, ...]:
    """The names of all rows, sorted."""
    return tuple(sorted(_rows()))


def find_architecture(name: str) -> Architecture:
    """The row of that name. Raises InvalidModel listing the known ones, or naming an installed
    package whose row cannot be used.
    """
    row = _rows().get(name)
    if row is None:
        known = ", ".join(known_architectures())
        raise InvalidModel(
            f"The architecture {name[:80]!r} is not known{_kind_of(name)}. Known: {known}. docs/models.md says how "
            "to add one.",
            field="architectures",
            limit=f"one of {known}",
        )
    return row


def find_model_type(model_type: str) -> Architecture | None:
    """The row of the family that config.json calls so under `model_type`; None where there is none."""
    return next((row for row in _rows().values() if row.model_type == model_type), None)


def _rows() -> dict[str, Architecture]:
    return {**_installed(), **_shipped(), **_registered}


def _kind_of(name: str) -> str:
    """What the name says of a model that cannot be served, as an apposition."""
    for ending, kind in _KINDS.items():
        if name.endswith(ending):
            return f" ({kind})"
    return ""


@cache
def _shipped() -> dict[str, Architecture]:
    return {row.name: row for row in FAMILIES}


@cache
def _installed() -> dict[str, Architecture]:
    """Rows of installed packages. Installing one is its owner's decision to run it, as for every
    entry point; a model folder has no say.
    """
    rows: dict[str, Architecture] = {}
    for point in entry_points(group=ENTRY_POINTS):
        try:
            row = point.load()
        except Exception as error:
            raise InvalidModel(
                f"The entry point {point.name} in {ENTRY_POINTS} cannot be loaded ({type(error).__name__}): "
                f"{point.value}.",
                field="architectures",
            ) from error
        if not isinstance(row, Architecture) or row.name in rows or row.name in _shipped():
            raise InvalidModel(
                f"The entry point {point.name} in {ENTRY_POINTS} must name an Architecture with a name of its own: "
                f"{point.value}.",
                field="architectures",
            )
        if (wrong := row.contradiction()) is not None:
            raise InvalidModel(f"The architecture {row.name[:80]!r} cannot be: {wrong}.", field="architectures")
        rows[row.name] = row
    return rows
