"""`skipjoin bench against CHECKOUT BENCH -- FLAGS`: this code and another's, by turns in one run.

Owns the turns, the pairing of figures by name, and the verdict: quicker is more than 1. It knows a
benchmark by its JSON alone: times stand as `median_ms`, beside `unit_ms` or not, rates as
`..._per_s`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import geometric_mean, median
from typing import Any

from ...console.json_flag import add_json_flag
from ...core.errors import InvalidSettings, Unavailable
from ..flags import Flags, check_bounds
from ..json_file import write_json
from ..load.process import PACKAGE, own_command, own_environment
from ..progress import Bar
from ..table import grid

BENCHES = ("turn", "engine", "pool")
LEAST = 0.98
IN_UNITS = ", in units"
PATIENCE_S = 3600.0
Figures = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Against:
    """A figure's ratio in each round: more than 1 where this code is quicker."""

    name: str
    ratios: tuple[float, ...]

    @property
    def median(self) -> float:
        """Of the rounds."""
        return median(self.ratios)

    @property
    def slower(self) -> bool:
        """Below the bar in the median, and no quicker in three of four rounds: one of many is off
        by chance.
        """
        below = sum(ratio < 1.0 for ratio in self.ratios)
        return self.median < LEAST and 4 * below >= 3 * len(self.ratios)


def configure(parser: argparse.ArgumentParser) -> None:
    """The flags of `bench against`."""
    parser.add_argument("checkout", metavar="CHECKOUT", help="the other code: a folder with a checkout of skipjoin")
    Flags(parser).value("rounds", "N", "each measures so often", 5)
    add_json_flag(parser, "the figures")
    parser.add_argument("bench", choices=BENCHES, help="what is measured")
    parser.add_argument("flags", nargs=argparse.REMAINDER, metavar="-- FLAGS", help="of the benchmark")


def run(args: argparse.Namespace) -> int:
    """0 when this code is as quick, on the whole and in each figure. Raises InvalidSettings,
    Unavailable.
    """
    check_bounds(args, rounds=(1, 1000))
    words = [args.bench, *(word for word in args.flags if word != "--")]
    with Bar() as bar:
        found = by_turns(Path(args.checkout), words, args.rounds, bar.note)
    print(against_table(found), end="")
    write_json(args.json, {"against": {one.name: list(one.ratios) for one in found}, "all": whole_of(found)})
    return 0 if as_quick(found) else 1


def against_table(found: Sequence[Against]) -> str:
    """A line a figure, then all of them together."""
    lines = [["the other's time over ours", "median", "least", "most", f"at least {LEAST:g}"]]
    for one in found:
        ratios = (f"{ratio:.3f}" for ratio in (one.median, min(one.ratios), max(one.ratios)))
        lines.append([one.name, *ratios, "SLOWER" if one.slower else "ok"])
    whole = whole_of(found)
    return grid([*lines, ["all together", f"{whole:.3f}", "", "", "ok" if whole >= LEAST else "SLOWER"]])


def by_turns(other: Path, words: Sequence[str], rounds: int, note: Callable[[str], None]) -> list[Against]:
    """Measure `bench WORDS...` of both in each round. Raises InvalidSettings, Unavailable."""
    if not (other / "cli.py").is_file():
        raise InvalidSettings(f"{other} is no checkout of skipjoin.", field="checkout")
    ours = Path(__file__).resolve().parents[2]
    done: list[tuple[Figures, Figures]] = []
    with tempfile.TemporaryDirectory(prefix="skipjoin-against-") as folder:
        for number in range(rounds):
            # Who goes first takes turns as well: a machine that slows down would favour the first.
            pair = [measured(code, words, Path(folder)) for code in _in_turn(ours, other.resolve(), number)]
            done.append((pair[0], pair[1]) if number % 2 == 0 else (pair[1], pair[0]))
            note(f"round {number + 1} of {rounds} done")
    found = compared(done)
    if not found:
        raise Unavailable(f"`bench {words[0]}` gave no figure that both have.")
    return found


def whole_of(found: Sequence[Against]) -> float:
    """All figures together: the geometric mean of their medians."""
    return geometric_mean([one.median for one in found])


def as_quick(found: Sequence[Against]) -> bool:
    """Whether this code is, on the whole and in each figure."""
    return whole_of(found) >= LEAST and not any(one.slower for one in found)


def _in_turn(ours: Path, other: Path, number: int) -> tuple[Path, Path]:
    return (ours, other) if number % 2 == 0 else (other, ours)


def measured(code: Path, words: Sequence[str], folder: Path) -> Figures:
    """What one run by the package in `code` told. Raises Unavailable with its last line."""
    out, home = folder / "figures.json", folder / "code"
    home.mkdir(exist_ok=True)
    package = home / PACKAGE
    package.unlink(missing_ok=True)
    package.symlink_to(code, target_is_directory=True)
    out.unlink(missing_ok=True)
    paths = os.pathsep.join((str(home), *filter(None, [os.environ.get("PYTHONPATH")])))
    command = [*own_command("bench", words[0], "--json", str(out)), *words[1:]]
    done = subprocess.run(
        command,
        env={**own_environment(), "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    # A bar that does not hold ends it with 1, figures and all.
    if not out.is_file():
        lines = done.stderr.strip().splitlines() or ["it said nothing."]
        raise Unavailable(f"`bench {words[0]}` of {code.name} gave no figures: {lines[-1]}")
    return figures_of(out.read_text(encoding="utf-8"))


def figures_of(text: str) -> Figures:
    """Seconds for one of what is measured, by name: of several of a name the median."""
    values: list[Any] = []
    try:
        values.append(json.loads(text))
    except ValueError:  # an object a line
        for line in text.splitlines():
            with suppress(ValueError):
                values.append(json.loads(line))
    found: dict[str, list[float]] = {}
    for name, seconds in _figures(values):
        found.setdefault(name, []).append(seconds)
    return {name: median(several) for name, several in found.items()}


def _figures(value: Any) -> Iterator[tuple[str, float]]:
    if isinstance(value, list):
        for one in value:
            yield from _figures(one)
    elif isinstance(value, dict) and value.get("kind") != "roof" and not str(value.get("name")).startswith(" "):
        # A name that is indented is a part of what stands above it.
        label = ", ".join(str(value[key]) for key in ("system", "pool", "name", "batch") if key in value)
        for key, one in value.items():
            if isinstance(one, (dict, list)):
                yield from _figures(one)
            elif isinstance(one, (int, float)) and one > 0:
                if key == "median_ms":
                    yield label, one / 1e3
                    if value.get("unit_ms"):
                        yield f"{label}{IN_UNITS}", one / value["unit_ms"]
                elif key.endswith("_per_s"):
                    yield f"{label}, {key.removesuffix('_per_s').replace('_', ' ')}", 1.0 / one


def compared(rounds: Sequence[tuple[Figures, Figures]]) -> list[Against]:
    """What both measure, round by round; not a time that both tell in units as well."""
    both = [name for name in rounds[0][0] if all(name in ours and name in theirs for ours, theirs in rounds)]
    names = [name for name in both if name + IN_UNITS not in both]
    return [Against(name, tuple(theirs[name] / ours[name] for ours, theirs in rounds)) for name in names]
