"""Looking into a part, whatever it is made of.

A part is a dataclass whose fields are tensors, numbers, further parts or tuples of them. Whoever
needs all products or all norms of a model looks through its pieces, and so knows no family.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass


def pieces(part: object) -> Iterator[object]:
    """The part and everything in it, in the order of the fields."""
    yield part
    for child in children(part):
        yield from pieces(child)


def children(part: object) -> tuple[object, ...]:
    """What the part itself holds."""
    if isinstance(part, tuple):
        return part
    return tuple(getattr(part, field.name) for field in fields(part)) if is_dataclass(part) else ()
