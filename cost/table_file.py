"""The tables of a profile file: axes in tokens or jobs, times in milliseconds.

Owns their JSON form and nothing else. It does not know what else a profile holds; `schema` calls
both functions.
"""

from __future__ import annotations

from typing import Any

from ..core.errors import InvalidProfile
from .section import Section
from .table import Curve, Grid, TableCostModel

_NS_PER_MS = 1e6
_CURVES = ("tokens", "sequences")
_GRIDS = ("prefill", "decode", "beside")


def plain_tables(model: TableCostModel) -> dict[str, Any]:
    """The model as JSON values; the link stands elsewhere in the profile."""
    value: dict[str, Any] = {"step_ms": model.step_ns / _NS_PER_MS}
    for name in _CURVES:
        curve: Curve = getattr(model, name)
        value[name] = {"at": list(curve.at), "ms": _ms(curve.ns)}
    for name in _GRIDS:
        grid: Grid = getattr(model, name)
        value[name] = {"rows": list(grid.rows), "columns": list(grid.columns), "ms": [_ms(line) for line in grid.ns]}
    return value


def parse_tables(part: Section, move_token_ns: float) -> TableCostModel:
    """The model in section `part`. Raises InvalidProfile naming file and field."""
    part.only(("step_ms", *_CURVES, *_GRIDS, "fit"))
    tokens, sequences = (_curve(part.section(name)) for name in _CURVES)
    prefill, decode, beside = (_grid(part.section(name)) for name in _GRIDS)
    step_ns = part.milliseconds("step_ms") * _NS_PER_MS
    try:
        return TableCostModel(tokens, sequences, prefill, decode, beside, step_ns, move_token_ns)
    except InvalidProfile as problem:
        raise part.wrong(problem.field or "", problem.limit or "", problem.message) from None


def _curve(part: Section) -> Curve:
    part.only(("at", "ms"))
    try:
        return Curve(part.places("at"), _ns(part.times("ms")))
    except InvalidProfile as problem:
        raise _named(part, problem) from None


def _grid(part: Section) -> Grid:
    part.only(("rows", "columns", "ms"))
    try:
        return Grid(part.places("rows"), part.places("columns"), tuple(_ns(line) for line in part.table("ms")))
    except InvalidProfile as problem:
        raise _named(part, problem) from None


def _named(part: Section, problem: InvalidProfile) -> InvalidProfile:
    """The same error with the file and the whole name of the field, unless it has them."""
    if problem.field is not None and "." in problem.field:
        return problem
    return part.wrong({"ns": "ms"}.get(problem.field or "", problem.field or ""), problem.limit or "", "does not fit")


def _ms(values: tuple[float, ...]) -> list[float]:
    return [round(value / _NS_PER_MS, 6) for value in values]


def _ns(values: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(value * _NS_PER_MS for value in values)
