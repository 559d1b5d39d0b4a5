"""What is drawn again: which published curves, beside which of our policies, on what jobs.

Owns the panels and the numbers of the published set-up, each with its source. It simulates nothing; `redraw` does.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ...core.errors import InvalidSettings, InvalidTrace
from ...kvstore.params import KvParams
from .curves import Curve

PROFILE = "opt-13b-a100"
BATCH = 16
"""Of every run of OPT-13B in the artifact's scripts; the text names none."""
LEVEL_S = 0.3
"""The published limit: ten times one decode iteration."""
TOP_LEVELS = 2.2
"""The published pictures end at so many times the limit; a curve is not followed beyond."""
KV_TOKENS = 15_700
"""What an A100 with 40 GB has left beside OPT-13B when nine tenths of it are used: (0.9 * 40 GiB - 25.7 GB) / 819,200 B is 15.8 thousand tokens,
less some workspace. The profile's own room is that of an 80 GB card."""
TOKEN_BYTES = 819_200
MAX_PROMPT, MAX_TOTAL = 1024, 2048
"""Requests beyond either are left out, as the artifact's client does."""


@dataclass(frozen=True, slots=True)
class System:
    """One of ours: a policy with a manner of moving KV, beside the published system it stands for (none: it stands for itself).

    `overlap` false: an iteration waits for the moves that are under way, so that a swap is on the critical path.
    """

    name: str
    policy: str
    published: str | None
    kv: KvParams = field(default_factory=KvParams)
    overlap: bool = True


@dataclass(frozen=True, slots=True)
class Span:
    """How many jobs a point is the mean of: `seconds` of arrivals, but no fewer than `least` and no more than `most`."""

    seconds: float
    least: int
    most: int

    def jobs(self, rate: float) -> int:
        """At `rate` jobs a second."""
        return min(self.most, max(self.least, round(self.seconds * rate)))


@dataclass(frozen=True, slots=True)
class Panel:
    """Published curves and what stands beside them. `sources` are a short word, a figure and its panel; `best` is compared with each of `bases`."""

    name: str
    title: str
    sources: tuple[tuple[str, str, str], ...]
    lengths: str
    host_gib: int
    span: Span
    systems: tuple[System, ...]
    best: str
    bases: tuple[str, ...]
    target: tuple[str, float] | None = None
    """A base, and how many times its rate `best` has to reach."""

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
        "sharegpt",
        "OPT-13B, ShareGPT",
        (
            ("paper", "overall.pdf", "sharegpt OPT-13B"),
            ("artifact", "fig11_sharegpt.pdf", "AE sharegpt OPT-13B single GPU"),
        ),
        "sharegpt1turn",
        56,
        Span(200, 20, 400),
        POLICIES,
        "skipjoin",
        ("fcfs", "fcfs-swap"),
        ("fcfs", 1.6),
    ),
    Panel(
        "alpaca",
        "OPT-13B, Alpaca",
        (
            ("paper", "overall2.pdf", "alpaca OPT-13B"),
            ("artifact", "fig11_alpaca.pdf", "AE alpaca OPT-13B single GPU"),
        ),
        "alpacaeval_davinci003",
        48,
        Span(20, 300, 800),
        POLICIES,
        "skipjoin",
        ("fcfs", "fcfs-swap"),
    ),
    Panel(
        "kv",
        "OPT-13B, ShareGPT, how KV is kept",
        (("paper", "abaltion_swapping.pdf", "swap ablation"),),
        "sharegpt1turn",
        56,
        Span(200, 20, 400),
        MANNERS,
        "proactive",
        ("reactive", "reactive, waiting", "recompute"),
    ),
)
"""The figure's file is misspelt at its source."""


def named(text: str) -> tuple[Panel, ...]:
    """The panels of a list with commas. Raises InvalidSettings."""
    known = {panel.name: panel for panel in PANELS}
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in known:
            raise InvalidSettings(f"There is no panel {name!r}.", field="panel", limit=f"of {', '.join(known)}")
    if not names:
        raise InvalidSettings("--panel names none.", field="panel", limit=f"of {', '.join(known)}")
    return tuple(known[name] for name in dict.fromkeys(names))
