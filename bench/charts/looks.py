"""How a policy looks, on every page: its colour and its dash.

A policy that is often compared has a look of its own. The others share thin grey.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from ...scheduler.series import parse
from .sheet import COLOURS

SOLID, DASHED, DOTTED = "solid", "dashed", "dotted"


@dataclass(frozen=True, slots=True)
class Look:
    """A colour by name, a dash, a width in pixels, and how strong the colour is."""

    colour: str
    dash: str = SOLID
    width: float = 1.6
    strength: float = 1.0

    def stroke(self) -> dict[str, Any]:
        """As matplotlib takes it for a line."""
        return {"color": COLOURS[self.colour], "linestyle": self.dash, "linewidth": self.width, "alpha": self.strength}


FAINTEST = 0.3
PLAIN = Look("other", width=0.9)
LOOKS: dict[str, Look] = {
    "adaptive": Look("blue", width=2.2),
    "skipjoin": Look("orange", width=1.9),
    "mlfq": Look("yellow"),
    "gittins": Look("aqua"),
    "serpt": Look("aqua", DASHED),
    "las": Look("magenta"),
    "ps": Look("magenta", DASHED),
    "hrrn": Look("red"),
    "vtc": Look("brown"),
    "priority": Look("brown", DASHED),
    "fcfs": Look("ink"),
    "fcfs-swap": Look("ink", DASHED, 1.4),
    "gamma-boost": Look("green"),
    "trail": Look("green", DASHED),
    "srpt-0.5": Look("violet", DASHED),
    "srpt-1.0": Look("violet", DOTTED),
    "sjf-oracle": Look("violet"),
    "srpt-oracle": Look("ink", DOTTED),
}
"""Policy -> look. The oracle is dotted, what is swapped, expected, shared or estimated is dashed."""

ORDER = tuple(LOOKS)


def look(name: str) -> Look:
    """The look of a policy, its own or the plain one; where its dial is set, fainter towards 0."""
    series = parse(name)
    plain = LOOKS.get(series.policy, PLAIN)
    return plain if series.tail is None else replace(plain, width=1.4, strength=FAINTEST + (1 - FAINTEST) * series.tail)


def ordered(names: list[str]) -> list[str]:
    """The policies as they are listed everywhere: those with a look first, by dial where it is set."""

    def place(name: str) -> tuple[int, str, float]:
        series = parse(name)
        at = ORDER.index(series.policy) if series.policy in LOOKS else len(ORDER)
        return at, series.policy, -1.0 if series.tail is None else series.tail

    return sorted(names, key=place)
