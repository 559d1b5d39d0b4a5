"""A matrix: which traces at which loads and batches under which policies, with how many requests.

Owns the file format (TOML, checked by pydantic) and the bounds of its numbers. It runs nothing; `command` reads one, with what the flags say in
place of what the file says, and `plan` makes cells of it. The files that ship lie in `bench/matrices/`.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from ...core.errors import InvalidSettings
from ...scheduler.registry import DIAL_NAMES
from ...scheduler.series import parse

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


class TraceSource(BaseModel):
    """A trace by name, as in `simulate --trace`; `shape` stands in for it where there is no data folder.

    `spread_s`: arrivals that were published in steps of so many seconds are spread evenly over their step, by seed.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", frozen=True)

    name: Name
    shape: Name | None = None
    spread_s: float = Field(0.0, ge=0, le=3600)


class Small(BaseModel):
    """The cell whose jobs are drawn one by one: a shape, few requests, a small batch."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", frozen=True)

    shape: Name
    requests: int = Field(ge=2, le=100)
    load: Load
    batch: Batch
    seed: Seed = 0


class Reference(BaseModel):
    """What others reached, as data: (mean, P99) points over those of fcfs, averaged over the cells of the matrix; `source` says whose they are."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", frozen=True)

    name: Name
    source: Name
    points: Annotated[tuple[tuple[Ratio, Ratio], ...], Field(min_length=1, max_length=100)]


class Matrix(BaseModel):
    """`policies` may be the one word "all"; a seed is a window of a trace, or other lengths and arrivals of a shape.

    `tails`: where the dial of a policy that has one is set, one after the other; `adaptive:0.5` among the policies is one such setting.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", frozen=True)

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


def load_matrix(path: Path, instead: dict[str, object]) -> Matrix:
    """Read a matrix, with the values of `instead` in place of the file's. Raises InvalidSettings naming file or flag, and field.

    A trace in `instead` that the file knows by name keeps what the file says of it.
    """
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidSettings(f"{path.name} cannot be read: {error.strerror}.", field="scenario") from None
    except UnicodeDecodeError as bad:
        line = bad.object[: bad.start].count(b"\n") + 1
        raise InvalidSettings(f"{path.name}, line {line} is not UTF-8.", field="scenario") from None
    except tomllib.TOMLDecodeError as error:
        raise InvalidSettings(f"{path.name} is no TOML file: {error}.", field="scenario") from None
    matrix = _checked(raw, path.name)
    _tails_turn_something(matrix, path.name)
    if "traces" in instead:
        known = {one.name: one.model_dump() for one in matrix.traces}
        names = instead["traces"]
        assert isinstance(names, tuple)
        instead = instead | {"traces": tuple(known.get(name, {"name": name}) for name in names)}
    if not instead:
        return matrix
    asked = _checked(matrix.model_dump() | instead, None)
    if "tails" in instead:
        _tails_turn_something(asked, None)
    return asked


def _tails_turn_something(matrix: Matrix, file: str | None) -> None:
    if matrix.tails and not {ALL, *DIAL_NAMES} & set(matrix.policies):
        raise InvalidSettings(
            f"{_place(file, 'tails')}: none of the policies has a dial that is left to set.",
            field="tails",
            limit=f"with {', '.join(DIAL_NAMES)}",
        )


def _place(file: str | None, where: str) -> str:
    """A field of a file, or the flag that was given in its stead."""
    return f"{file}: {where}" if file is not None else f"--{where.partition('.')[0]}"


def _checked(raw: dict[str, object], file: str | None) -> Matrix:
    try:
        return Matrix.model_validate(raw)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "matrix"
        raise InvalidSettings(
            f"{_place(file, where)}: {first['msg'].removeprefix('Value error, ').rstrip('.')}.", field=where
        ) from None
