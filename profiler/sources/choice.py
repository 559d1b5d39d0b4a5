"""Which of the files behind a source are meant, and what to say where that is not clear.

Owns `single`, the words about what lies there (devices and models, as files are named) and about
parts of a set that are not there. It reads headers only; the formats ask for their files, `detect`
for the sentences.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from ...core.errors import InvalidProfile
from .known import DEVICES, named_in
from .reading import column_named

SHOWN = 6
_KIND = re.compile(r"_(?:dense|per_sequence|attention|skew|layers|mlp|dgx)(?=[_.])")
"""In a file's name: from here on it says what of a set the file is."""

Part = tuple[str, tuple[str, ...]]
"""What a file of a set is, and the columns that tell it."""


def single(found: Sequence[Path], what: str, choose: str | None = None) -> Path:
    """The one file of a kind; `choose` says how one of several is chosen. Raises InvalidProfile for
    none and for several.
    """
    if len(found) == 1:
        return found[0]
    if not found:
        words = f"The source has no {what}; give the folder of the set, or what all its paths begin with."
        raise InvalidProfile(words, field="source", limit=f"one {what}")
    names = _listed(_told(path.name) for path in found)
    choose = choose or f"SOURCE as what the paths of its set begin with, as FOLDER/{beginning(found[0])}"
    raise InvalidProfile(
        f"The source has {len(found)} of {what}: {names}. Choose {choose}.", field="source", limit=f"one {what}"
    )


def several(forms: Sequence[str], files: Sequence[Path]) -> InvalidProfile:
    """The error for files of more than one format."""
    sets = {beginning(path) for path in files if _KIND.search(path.name)}
    sets |= {path.name for path in files if path.suffix == ".json" and about(path.name) is not None}
    return InvalidProfile(
        f"The source has files of {len(forms)} formats ({', '.join(forms)}): "
        f"{_listed(_told(name) for name in sorted(sets))}. "
        "Choose with --format, or with SOURCE as what the paths of one set begin with.",
        field="format",
        limit=", ".join(forms),
    )


def lacking(files: Sequence[Path], sets: Sequence[Sequence[Part]]) -> InvalidProfile | None:
    """The error for a part of a set without the others; None where no file is part of one."""
    for parts in sets:
        there = {what: column_named(files, columns) for what, columns in parts}
        found = next((paths[0] for paths in there.values() if paths), None)
        if found is not None:
            gone = " and no ".join(what for what, paths in there.items() if not paths)
            return InvalidProfile(
                f"{found.name} is one file of a set, and the source has no {gone}; give what all paths of the set "
                "begin with, "
                f"as FOLDER/{beginning(found)}.",
                field="source",
                limit=", ".join(there),
            )
    return None


def about(name: str) -> str | None:
    """The device and the model that a file's name speaks of; None when it says neither."""
    device = next((DEVICES[word] for word in re.split(r"[_\-.]", name.lower()) if word in DEVICES), None)
    return ", ".join(word for word in (device, named_in(name)) if word is not None) or None


def beginning(path: Path) -> str:
    """What the names of a file's set have in common."""
    return _KIND.split(path.name, maxsplit=1)[0].removesuffix(path.suffix)


def _told(name: str) -> str:
    told = about(name)
    return name if told is None else f"{name} ({told})"


def _listed(names: Iterable[str]) -> str:
    words = list(names)
    more = f" and {len(words) - SHOWN} more" if len(words) > SHOWN else ""
    return ", ".join(words[:SHOWN]) + more
