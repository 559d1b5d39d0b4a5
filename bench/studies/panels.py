"""What is drawn again: which published curves, beside which of our policies, on what jobs.

Owns the panels and the numbers of the published set-up, each with its source. It simulates nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ...core.errors import InvalidSettings, InvalidTrace
from ...kvstore.params import KvParams
from ..flags import words_of
from .curves import Curve

PROFILE = "opt-13b-a100"
BATCH = 16
"""Of every run of OPT-13B in the artifact's scripts; the text names none."""
LEVEL_S = 0.3
"""The published limit: ten times one decode iteration."""
TOP_LEVELS = 2.2
"""The published pictures end at so many times the limit; a curve is not followed beyond."""
KV_TOKENS = 15_700
"""What an A100 with 40 GB has left beside OPT-13B when nine tenths of it are used: (0.9 * 40 GiB -
25.7 GB) / 819,200 B is 15.8 thousand tokens, less some workspace. The profile's own room is that of
an 80 GB card."""
TOKEN_BYTES = 819_200
MAX_PROMPT, MAX_TOTAL = 1024, 2048
"""Requests beyond either are left out, as the artifact's client does."""


@dataclass(frozen=True, slots=True)
class System:
    """One of ours: a policy with a manner of moving KV."""

    name: str
    policy: str
    #: The published system it stands for.
    published: str | None
    kv: KvParams = field(default_factory=KvParams)
    #: False: an iteration waits for the moves under way, so a swap is on the critical path.
    overlap: bool = True


@dataclass(frozen=True, slots=True)
class Span:
    """How many jobs a point is the mean of: `seconds` of arrivals, within `least` and `most`."""

    seconds: float
    least: int
    most: int

    def jobs(self, rate: float) -> int:
        """At `rate` jobs a second."""
        return min(self.most, max(self.least, round(self.seconds * rate)))


@dataclass(frozen=True, slots=True)
class Panel:
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


POLICIES = (
    System("fcfs", "fcfs", "vLLM"),
    System("fcfs-swap", "fcfs-swap", "FastServe-FCFS"),
    System("skipjoin", "skipjoin", "FastServe"),
    System("adaptive", "adaptive", None),
)
REACTIVE = KvParams(mode="reactive", prefetch=0)
MANNERS = (
    System("proactive", "skipjoin", "proactive"),
    System("reactive", "skipjoin", "reactive", REACTIVE),
    System("reactive, waiting", "skipjoin", "reactive", REACTIVE, overlap=False),
    System("recompute", "skipjoin", "recompute", KvParams(mode="recompute")),
)
PANELS = (
    Panel(
        name="sharegpt",
        title="OPT-13B, ShareGPT",
        sources=(
            ("paper", "overall.pdf", "sharegpt OPT-13B"),
            ("artifact", "fig11_sharegpt.pdf", "AE sharegpt OPT-13B single GPU"),
        ),
        lengths="sharegpt1turn",
        host_gib=56,
        span=Span(200, 20, 400),
        systems=POLICIES,
        best="skipjoin",
        bases=("fcfs", "fcfs-swap"),
        target=("fcfs", 1.6),
    ),
    Panel(
        name="alpaca",
        title="OPT-13B, Alpaca",
        sources=(
            ("paper", "overall2.pdf", "alpaca OPT-13B"),
            ("artifact", "fig11_alpaca.pdf", "AE alpaca OPT-13B single GPU"),
        ),
        lengths="alpacaeval_davinci003",
        host_gib=48,
        span=Span(20, 300, 800),
        systems=POLICIES,
        best="skipjoin",
        bases=("fcfs", "fcfs-swap"),
    ),
    Panel(
        name="kv",
        title="OPT-13B, ShareGPT, how KV is kept",
        # The figure's file is misspelt at its source.
        sources=(("paper", "abaltion_swapping.pdf", "swap ablation"),),
        lengths="sharegpt1turn",
        host_gib=56,
        span=Span(200, 20, 400),
        systems=MANNERS,
        best="proactive",
        bases=("reactive", "reactive, waiting", "recompute"),
    ),
)


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
