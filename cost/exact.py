"""A cost model as JSON values and back, the same to the last bit.

Owns that form and the two models that it may hold. A profile file is for people, in milliseconds,
and rounds; a record must give the predictions of its run again, and the door those of its engine.
engine/recording and serving/facts call it.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from .linear import LinearCostModel
from .table import Curve, Grid, TableCostModel

BaseCost = LinearCostModel | TableCostModel
"""A cost model that a profile may hold."""

_CURVES = ("tokens", "sequences")
_GRIDS = ("prefill", "decode", "beside")


def cost_values(model: BaseCost) -> dict[str, Any]:
    """The model in nanoseconds."""
    kind = "coefficients" if isinstance(model, LinearCostModel) else "tables"
    return {"kind": kind, **dataclasses.asdict(model)}


def cost_of(values: dict[str, Any]) -> BaseCost:
    """The model of such values. Raises KeyError, TypeError, ValueError or InvalidProfile for
    others.
    """
    fields = dict(values)
    kind = fields.pop("kind")
    if kind == "coefficients":
        return LinearCostModel(**fields)
    if kind != "tables":
        raise ValueError("another kind of cost model")
    for name in _CURVES:
        curve = fields[name]
        fields[name] = Curve(tuple(curve["at"]), tuple(curve["ns"]))
    for name in _GRIDS:
        grid = fields[name]
        fields[name] = Grid(tuple(grid["rows"]), tuple(grid["columns"]), tuple(tuple(line) for line in grid["ns"]))
    return TableCostModel(**fields)
