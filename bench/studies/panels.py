"""What is drawn again: which published curves, beside which of our policies, on what jobs.

Owns the numbers of the published set-up, each with its source; the panels stand in `panels.toml`.
It simulates nothing.
"""

from __future__ import annotations

from pathlib import Path

from ...core.errors import InvalidSettings, InvalidTrace
from ...kvstore.params import KvParams
from ..flags import words_of
from ..scenario_file import ScenarioPart, read_scenario
from .curves import Curve

PROFILE = "opt-13b-a100"
BATCH = 16
"""Of every run of OPT-13B in the artifact's scripts; the text names none."""
LIMIT_S = 0.3
"""The published limit: ten times one decode iteration."""
TOP_LIMITS = 2.2
"""The published pictures end at so many times the limit; a curve is not followed beyond."""
KV_TOKENS = 15_700
"""What an A100 with 40 GB has left beside OPT-13B when nine tenths of it are used: (0.9 * 40 GiB -
25.7 GB) / 819,200 B is 15.8 thousand tokens, less some workspace. The profile's own room is that of
an 80 GB card."""
TOKEN_BYTES = 819_200
MAX_PROMPT, MAX_TOTAL = 1024, 2048
"""Requests beyond either are left out, as the artifact's client does."""


class System(ScenarioPart):
    """One of ours: a policy with a manner of moving KV."""

    name: str
    policy: str
    #: The published system it stands for.
    published: str | None = None
    kv: KvParams = KvParams()
    #: False: an iteration waits for the moves under way, so a swap is on the critical path.
    overlap: bool = True


class Span(ScenarioPart):
    """How many jobs a point is the mean of: `seconds` of arrivals, within `least` and `most`."""

    seconds: float
    least: int
    most: int

    def jobs(self, rate: float) -> int:
        """At `rate` jobs a second."""
        return min(self.most, max(self.least, round(self.seconds * rate)))


class Panel(ScenarioPart):
    """Published curves and what stands beside them."""

    name: str
    title: str
    #: A short word, a figure and its panel.
    sources: tuple[tuple[str, str, str], ...]
    lengths: str
    host_gib: int
    span: Span
    systems: tuple[System, ...]
    #: Of `systems`, compared with each of `bases`.
    best: str
    bases: tuple[str, ...]
    #: A base, and how many times its rate `best` has to reach.
    target: tuple[str, float] | None = None

    @property
    def host_tokens(self) -> int:
        """Host room in tokens."""
        return self.host_gib * 2**30 // TOKEN_BYTES

    def published(self, curves: tuple[Curve, ...]) -> dict[tuple[str, str], Curve]:
        """By word of the source and system. Raises InvalidTrace when the file lacks a panel."""
        found = {}
        for word, figure, panel in self.sources:
            of_panel = {curve.system: curve for curve in curves if (curve.figure, curve.panel) == (figure, panel)}
            if not of_panel:
                raise InvalidTrace(f"The published curves have no panel {panel!r} of {figure}.", field="panel")
            found.update({(word, name): curve for name, curve in of_panel.items() if name in self.stood_for})
        return found

    @property
    def stood_for(self) -> tuple[str, ...]:
        """The published systems that one of ours stands beside, in order."""
        return tuple(dict.fromkeys(one.published for one in self.systems if one.published is not None))


class _Panels(ScenarioPart):
    panels: tuple[Panel, ...]


PANELS = read_scenario(Path(__file__).with_name("panels.toml"), _Panels).panels


def named(text: str) -> tuple[Panel, ...]:
    """The panels of a list with commas. Raises InvalidSettings."""
    known = {panel.name: panel for panel in PANELS}
    names, limit = words_of(text), f"of {', '.join(known)}"
    for name in names:
        if name not in known:
            raise InvalidSettings(f"There is no panel {name!r}.", field="panel", limit=limit)
    if not names:
        raise InvalidSettings("--panel names none.", field="panel", limit=limit)
    return tuple(known[name] for name in dict.fromkeys(names))
