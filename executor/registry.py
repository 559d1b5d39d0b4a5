"""Which architectures are known: the rows of families.py, and rows that others bring.

Owns the look-up by the name in config.json, `register` for a process of one's own, and the entry point group by which an installed package brings
rows into every process of a server. It does not read model folders; config asks it.
"""

from __future__ import annotations

from functools import cache
from importlib.metadata import entry_points

from ..core.errors import InvalidInput, InvalidModel
from .architectures import Architecture
from .families import FAMILIES

ENTRY_POINTS = "skipjoin.architectures"
_registered: dict[str, Architecture] = {}


def register(row: Architecture) -> None:
    """Make a row known in this process. Raises InvalidInput when another row has its name, or it contradicts itself."""
    if (wrong := row.contradiction()) is not None:
        raise InvalidInput(f"The architecture {row.name[:80]!r} cannot be: {wrong}.", field="architectures")
    known = _registered.get(row.name) or _shipped().get(row.name)
    if known is not None and known is not row:
        raise InvalidInput(f"The architecture {row.name[:80]!r} is known already.", field="architectures")
    _registered[row.name] = row


def known_architectures() -> tuple[str, ...]:
    """The names of all rows, sorted."""
    return tuple(sorted({**_shipped(), **_installed(), **_registered}))


def find_architecture(name: str) -> Architecture:
    """The row of that name. Raises InvalidModel listing the known ones, or naming an installed package whose row cannot be used."""
    row = _registered.get(name) or _shipped().get(name) or _installed().get(name)
    if row is None:
        known = ", ".join(known_architectures())
        raise InvalidModel(
            f"The architecture {name[:80]!r} is not known. Known: {known}. docs/models.md says how to add one.",
            field="architectures",
            limit=f"one of {known}",
        )
    return row


@cache
def _shipped() -> dict[str, Architecture]:
    return {row.name: row for row in FAMILIES}


@cache
def _installed() -> dict[str, Architecture]:
    """Rows of installed packages. Installing one is its owner's decision to run it, as for every entry point; a model folder has no say."""
    rows: dict[str, Architecture] = {}
    for point in entry_points(group=ENTRY_POINTS):
        try:
            row = point.load()
        except Exception as error:
            raise InvalidModel(
                f"The entry point {point.name} in {ENTRY_POINTS} cannot be loaded ({type(error).__name__}): {point.value}.",
                field="architectures",
            ) from error
        if not isinstance(row, Architecture) or row.name in rows or row.name in _shipped():
            raise InvalidModel(
                f"The entry point {point.name} in {ENTRY_POINTS} must name an Architecture with a name of its own: {point.value}.",
                field="architectures",
            )
        if (wrong := row.contradiction()) is not None:
            raise InvalidModel(f"The architecture {row.name[:80]!r} cannot be: {wrong}.", field="architectures")
        rows[row.name] = row
    return rows
