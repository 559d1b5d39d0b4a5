"""Where requests come from: a trace file, a named trace of the benchmark data, or a shape that
ships.

Owns how the value of `--trace` is understood. `shape:NAME` is a shape; a path is a file; any other
name is looked up in the folder that `SKIPJOIN_BENCH_DATA` names. It reads no environment itself:
the commands hand the folder in.
"""

from __future__ import annotations

from pathlib import Path

from ..core.errors import InvalidTrace
from .formats import read_trace
from .shape import Shape, load_shape, shape_names
from .trace import Trace

DATA_VARIABLE = "SKIPJOIN_BENCH_DATA"
SHAPE_PREFIX = "shape:"
_SUFFIXES = (".dev.csv", ".csv", ".jsonl")

Source = Trace | Shape


def open_source(name: str, data_folder: str | None, limit: int | None = None) -> Source:
    """The trace (its first `limit` usable rows) or shape that `name` means. Raises InvalidTrace
    saying what there is instead.
    """
    if name.startswith(SHAPE_PREFIX):
        return load_shape(name.removeprefix(SHAPE_PREFIX))
    path = Path(name)
    if path.is_file():
        return read_trace(path, limit)
    if data_folder and path.name == name:
        found = _in_folder(Path(data_folder), name)
        if found is not None:
            return read_trace(found, limit)
    known = _names(Path(data_folder)) if data_folder else []
    more = f"holds {', '.join(known)}" if known else "names no folder with traces"
    raise InvalidTrace(
        f"There is no trace {path.name!r}: give a file, shape:NAME (NAME one of {', '.join(shape_names())})"
        f" or the name of a trace; {DATA_VARIABLE} {more}.",
        field="trace",
    )


def _in_folder(folder: Path, name: str) -> Path | None:
    for home in (folder / "traces", folder):
        for suffix in _SUFFIXES:
            path = home / f"{name}{suffix}"
            if path.is_file():
                return path
    return None


def _names(folder: Path) -> list[str]:
    home = folder / "traces" if (folder / "traces").is_dir() else folder
    return sorted({path.name.split(".")[0] for suffix in _SUFFIXES for path in home.glob(f"*{suffix}")})
