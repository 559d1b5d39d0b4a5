"""Finding a profile by the name of one that ships with the package or by the path of a file.

Owns the list of shipped names. It does not know what a profile holds; `schema` reads it. Commands
and tests call `load_profile`.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from ..core.errors import InvalidProfile
from .schema import MAX_FILE_BYTES, Profile, parse_profile

_SUFFIX = ".json"


def profile_names() -> tuple[str, ...]:
    """Names of the shipped profiles, sorted."""
    folder = files(__package__) / "named"
    return tuple(sorted(entry.name[: -len(_SUFFIX)] for entry in folder.iterdir() if entry.name.endswith(_SUFFIX)))


def load_profile(name_or_path: str) -> Profile:
    """A shipped profile by name, else the file at that path. Raises InvalidProfile."""
    if name_or_path in profile_names():
        shipped = files(__package__) / "named" / f"{name_or_path}{_SUFFIX}"
        return parse_profile(shipped.read_bytes(), name_or_path)
    path = Path(name_or_path)
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise InvalidProfile(
                f"Profile {name_or_path} is too large.", field="file", limit=f"at most {MAX_FILE_BYTES} bytes"
            )
        text = path.read_bytes()
    except (OSError, ValueError) as problem:
        why = problem.strerror if isinstance(problem, OSError) and problem.strerror else "it is no path"
        raise InvalidProfile(
            f"Profile {name_or_path!r} is neither a shipped profile ({', '.join(profile_names())}) "
            f"nor a file that can be read: {why}.",
            field="profile",
        ) from None
    return parse_profile(text, name_or_path)
