"""A matrix: which traces at which loads and batches under which policies, with how many requests.

Owns the file format and the bounds of its numbers. What flags say stands in place of what the file
says. The files that ship lie in `bench/matrices/`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

from ...core.errors import InvalidSettings
from ...scheduler.registry import DIAL_NAMES
from ...scheduler.series import parse
from ..scenario_file import ScenarioPart, checked, place, read_toml

FOLDER = Path(__file__).parent.parent / "matrices"
ALL = "all"


def _distinct(values: tuple[object, ...]) -> tuple[object, ...]:
    if len(set(values)) != len(values):
        raise ValueError("each value once")
    return values


def _named_once(traces: tuple[TraceSource, ...]) -> tuple[TraceSource, ...]:
    _distinct(tuple(one.name for one in traces))
    return traces


def _number(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("a number is needed")
    return value


def _policy(name: str) -> str:
    try:
        return parse(name).name
    except InvalidSettings as bad:
        raise ValueError(bad.message) from None


Name = Annotated[str, Field(min_length=1, max_length=200)]
Policy = Annotated[Name, AfterValidator(_policy)]
Load = Annotated[float, BeforeValidator(_number), Field(gt=0, le=100)]
Batch = Annotated[int, BeforeValidator(_number), Field(ge=1, le=4096)]
Seed = Annotated[int, BeforeValidator(_number), Field(ge=0, le=10_000)]
Tail = Annotated[float, BeforeValidator(_number), Field(ge=0, le=1)]
Ratio = Annotated[float, BeforeValidator(_number), Field(gt=0, le=1000)]


class TraceSource(ScenarioPart):
    """A trace by name, as in `simulate --trace`; `shape` stands in for it where there is no data
    folder.

    `spread_s`: arrivals that were published in steps of so many seconds are spread evenly over
    their step, by seed.
    """

    name: Name
    shape: Name | None = None
    spread_s: float = Field(0.0, ge=0, le=3600)


class Small(ScenarioPart):
    """The cell whose jobs are drawn one by one: a shape, few requests, a small batch."""

    shape: Name
    requests: int = Field(ge=2, le=100)
    load: Load
    batch: Batch
    seed: Seed = 0


class Reference(ScenarioPart):
    """What others reached: (mean, P99) points over those of fcfs, averaged over the cells of the
    matrix.
    """

    name: Name
    source: Name
    points: Annotated[tuple[tuple[Ratio, Ratio], ...], Field(min_length=1, max_length=100)]


class Matrix(ScenarioPart):
    """`policies` may be the one word "all"; a seed is a window of a trace, or other lengths and
    arrivals of a shape.

    `tails`: where the dial of a policy that has one is set, one after the other; `adaptive:0.5`
    among the policies is one such setting.
    """

    title: Name
    about: str = ""
    profile: Name = "opt-13b-a100"
    requests: int = Field(ge=1, le=1_000_000)
    warmup: int = Field(ge=0, le=1_000_000)
    loads: Annotated[tuple[Load, ...], Field(min_length=1), AfterValidator(_distinct)]
    batches: Annotated[tuple[Batch, ...], Field(min_length=1), AfterValidator(_distinct)]
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1), AfterValidator(_distinct)] = (0,)
    policies: Annotated[tuple[Policy, ...], Field(min_length=1), AfterValidator(_distinct)]
    tails: Annotated[tuple[Tail, ...], AfterValidator(_distinct)] = ()
    traces: Annotated[tuple[TraceSource, ...], Field(min_length=1), AfterValidator(_named_once)]
    timeline: Small | None = None
    references: tuple[Reference, ...] = ()


def load_matrix(path: Path, instead: dict[str, Any]) -> Matrix:
    """Read a matrix, `instead` in place of the file's values. Raises InvalidSettings naming the
    field.

    A trace in `instead` that the file knows by name keeps what the file says of it.
    """
    matrix = checked(read_toml(path), Matrix, path.name)
    _tails_turn_something(matrix, path.name)
    if "traces" in instead:
        known = {one.name: one.model_dump() for one in matrix.traces}
        instead = instead | {"traces": tuple(known.get(name, {"name": name}) for name in instead["traces"])}
    if not instead:
        return matrix
    asked = checked(matrix.model_dump() | instead, Matrix, None)
    if "tails" in instead:
        _tails_turn_something(asked, None)
    return asked


def _tails_turn_something(matrix: Matrix, file: str | None) -> None:
    if matrix.tails and not {ALL, *DIAL_NAMES} & set(matrix.policies):
        what = f"{place(file, 'tails')}: none of the policies has a dial that is left to set."
        raise InvalidSettings(what, field="tails", limit=f"with {', '.join(DIAL_NAMES)}")
