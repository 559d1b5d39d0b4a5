"""A scenario's TOML file becomes a checked value.

Owns the reading and the words for a file that is not as it must be, which name file and field. It does not know what any scenario says: each kind
brings its own model. The scenarios of demo, kernels, engines and servers are read here.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from ..core.errors import InvalidSettings

M = TypeVar("M", bound=BaseModel)


def read_scenario(path: Path, kind: type[M]) -> M:
    """Read a file as that kind. Raises InvalidSettings naming file and field."""
    try:
        return kind.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise InvalidSettings(f"{path.name} cannot be read: {error.strerror}.", field="scenario") from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InvalidSettings(f"{path.name} is no TOML file: {error}.", field="scenario") from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "scenario"
        raise InvalidSettings(f"{path.name}: {where}: {first['msg']}.", field=where) from None
