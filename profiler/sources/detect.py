"""Which format a source has, and its profile.

Owns the list of formats. It reads no table itself; `profile import` calls `read_source`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...core.errors import InvalidProfile
from ...cost.schema import Profile
from . import distserve, llmservingsim, llmservingsim_layers, vidur
from .choice import Part, lacking, several
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
"""As `--format` takes them."""
_SETS: tuple[tuple[Part, ...], ...] = (
    (
        ("dense table", llmservingsim.DENSE),
        ("per_sequence table", llmservingsim.PER_SEQUENCE),
        ("attention table", llmservingsim.ATTENTION),
    ),
    (("table of operators or of layers", vidur.OPERATORS), ("sweep of attention", vidur.ATTENTION)),
)
"""What belongs together, of formats that are several files and told by more than one."""


def read_source(source: str, wish: Wish, form: str | None = None) -> Profile:
    """The profile in `source`: a file, a folder, or what the paths of several files begin with.
    `form` None: told by the files.

    Raises InvalidProfile naming file, line and field, or what there is to choose from.
    """
    files = files_behind(source)
    if form is not None:
        return _FORMATS[form].read(files, wish)
    fitting = [name for name, known in _FORMATS.items() if known.fits(files)]
    if len(fitting) > 1:
        tables = [path for path in files if path.suffix != ".json" or distserve.fits([path])]
        raise several(fitting, tables)
    if fitting:
        return _FORMATS[fitting[0]].read(files, wish)
    raise lacking(files, _SETS) or InvalidProfile(
        f"None of the {len(files)} files of {source!r} is of a known format.", field="format", limit=", ".join(FORMATS)
    )
