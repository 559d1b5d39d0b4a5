"""Which format a source has, and its profile.

Owns the list of formats. It reads no table itself; `profile import` calls `read_source`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...core.errors import InvalidProfile
from ..schema import Profile
from . import distserve, llmservingsim, llmservingsim_layers, vidur
from .reading import Wish, files_behind


@dataclass(frozen=True, slots=True)
class _Format:
    fits: Callable[[Sequence[Path]], bool]
    read: Callable[[Sequence[Path], Wish], Profile]


_FORMATS = {
    "distserve": _Format(distserve.fits, distserve.read),
    "llmservingsim": _Format(llmservingsim.fits, llmservingsim.read),
    "llmservingsim-layers": _Format(llmservingsim_layers.fits, llmservingsim_layers.read),
    "vidur": _Format(vidur.fits, vidur.read),
}
FORMATS = tuple(_FORMATS)
"""Tried in this order."""


def read_source(source: str, wish: Wish, form: str | None = None) -> Profile:
    """The profile in `source`: a file, a folder, or what the paths of several files begin with. `form` None: told by the files.

    Raises InvalidProfile naming file, line and field.
    """
    files = files_behind(source)
    if form is not None:
        return _FORMATS[form].read(files, wish)
    for known in _FORMATS.values():
        if known.fits(files):
            return known.read(files, wish)
    raise InvalidProfile(
        f"None of the {len(files)} files of {source!r} is of a known format.", field="format", limit=", ".join(FORMATS)
    )
