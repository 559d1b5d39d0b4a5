"""A scenario's TOML file becomes a checked value.

Owns the reading, and the words for what is not as it must be: they name file and field. Each room
brings its own model, made of `ScenarioPart`s. Every scenario of `bench` is read here.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Protocol, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from ..core.errors import InvalidSettings


class ScenarioPart(BaseModel):
    """A table of the file: a field that is not known is refused, and none changes."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", frozen=True)


CaseName = Annotated[str, Field(min_length=1, max_length=40)]


class Named(Protocol):
    """A case that `--only` can choose."""

    @property
    def name(self) -> str:
        """As it stands in tables and files."""
        ...


M = TypeVar("M", bound=BaseModel)
N = TypeVar("N", bound=Named)


def _named_once(cases: tuple[N, ...]) -> tuple[N, ...]:
    if len({case.name for case in cases}) != len(cases):
        raise ValueError("every name once")
    return cases


Cases = Annotated[tuple[N, ...], Field(min_length=1), AfterValidator(_named_once)]
"""The cases of a scenario: one at least, every name once."""


def chosen(cases: Sequence[N], word: str | None, kind_of: Callable[[N], str]) -> tuple[N, ...]:
    """The cases of that kind or whose name holds the word; None: all. Raises InvalidSettings when
    there are none.
    """
    kept = tuple(case for case in cases if word is None or kind_of(case) == word or word in case.name)
    if not kept:
        names = ", ".join(case.name for case in cases)
        raise InvalidSettings(f"--only {word} is none of the cases.", field="only", limit=names)
    return kept


def read_scenario(path: Path, kind: type[M]) -> M:
    """Read a file as that kind. Raises InvalidSettings naming file and field."""
    return checked(read_toml(path), kind, path.name)


def read_toml(path: Path) -> dict[str, Any]:
    """What the file says, not checked yet. Raises InvalidSettings."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as bad:
        raise InvalidSettings(f"{path.name} cannot be read: {bad.strerror}.", field="scenario") from None
    except UnicodeDecodeError as bad:
        line = bad.object[: bad.start].count(b"\n") + 1
        raise InvalidSettings(f"{path.name}, line {line} is not UTF-8.", field="scenario") from None
    except tomllib.TOMLDecodeError as bad:
        raise InvalidSettings(f"{path.name} is no TOML file: {bad}.", field="scenario") from None


def checked(raw: dict[str, Any], kind: type[M], file: str | None) -> M:
    """`raw` as that kind. `file` None: flags gave it. Raises InvalidSettings naming file or flag,
    and field.
    """
    try:
        return kind.model_validate(raw)
    except ValidationError as bad:
        at, words = fault_of(bad)
        where = at or "scenario"
        raise InvalidSettings(f"{place(file, where)}: {words}.", field=where) from None


def fault_of(bad: ValidationError) -> tuple[str, str]:
    """The first field that is not as it must be ("" for the whole), and what is wrong with it."""
    first = bad.errors(include_url=False, include_input=False)[0]
    return ".".join(map(str, first["loc"])), first["msg"].removeprefix("Value error, ").rstrip(".")


def place(file: str | None, where: str) -> str:
    """A field of a file, or the flag that was given in its stead."""
    return f"{file}: {where}" if file is not None else f"--{where.partition('.')[0]}"
