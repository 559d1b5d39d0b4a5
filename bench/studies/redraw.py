"""A panel drawn again: which published curves, beside which of our policies, on what jobs.

Owns the numbers of the published set-up, each with its source, the jobs behind a point, the runs
behind a panel, and `Redrawn`; the panels stand in `panels.toml`. It renders nothing. The authors
drew a few hundred requests at random from a data set, started with an empty server and counted
every one of them: so it is done here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean

import numpy as np

from ...core.errors import InvalidSettings, InvalidTrace
from ...core.plan import Int32s
from ...cost.profiles import load_profile
from ...kvstore.params import KvParams
from ...scheduler.params import check_starvation
from ...sim.drain import drain_rate
from ...sim.study import make_machine
from ...sim.world import Machine, simulate
from ...workload import arrivals
from ...workload.requests import Workload
from ...workload.shape import Shape
from ...workload.source import open_source
from ...workload.statistics import RunResult, summarize
from ..flags import words_of
from ..progress import Bar
from ..scenario_file import ScenarioPart, read_scenario
from .reading import Crossing, Curve, Point, crossing

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


FURTHER = 1.25
STEPS = 6
"""How many times the rate is raised by that factor beyond the published ones, for a policy that did
not reach the limit."""
FROM_SHAPE = 20_000


@dataclass(frozen=True, slots=True)
class Setting:
    """What the flags say; None: the panel's own."""

    data_folder: str
    lengths: str | None = None
    jobs: int | None = None
    #: Runs that make a point.
    seeds: int = 3
    batch: int = BATCH
    kv_tokens: int = KV_TOKENS
    starvation: str = "granted"
    limit_s: float = LIMIT_S


@dataclass(frozen=True, slots=True, eq=False)
class Lengths:
    """int32[n] prompt and output tokens that jobs are drawn from."""

    name: str
    prompt_tokens: Int32s
    output_tokens: Int32s
    #: Rows that were too long.
    left_out: int

    def jobs(self, count: int, rate: float, seed: int) -> Workload:
        """`count` rows at random, none twice before all were drawn, as Poisson arrivals."""
        draw = np.random.Generator(np.random.PCG64([seed, 7]))
        rounds = -(-count // len(self.prompt_tokens))
        rows = np.concatenate([draw.permutation(len(self.prompt_tokens)) for _ in range(rounds)])[:count]
        return Workload(
            name=self.name,
            arrival_ns=arrivals.poisson(count, rate, seed),
            prompt_tokens=self.prompt_tokens[rows],
            output_tokens=self.output_tokens[rows],
            warmup=0,
            refused=0,
            seed=seed,
            recorded=False,
            timed=True,
        )


def open_lengths(name: str, data_folder: str | None, room_tokens: int) -> Lengths:
    """The rows of a trace or shape that are not too long. Raises InvalidTrace."""
    source = open_source(name, data_folder)
    if isinstance(source, Shape):
        prompts, outputs = source.draw(FROM_SHAPE, 0)
    else:
        prompts, outputs = source.prompt_tokens, source.output_tokens
    total = prompts.astype(np.int64) + outputs
    fits = (prompts <= MAX_PROMPT) & (total <= min(MAX_TOTAL, room_tokens))
    if not fits.any():
        raise InvalidTrace(f"{source.name} has no request of at most {MAX_TOTAL} tokens.", field="lengths")
    return Lengths(source.name, prompts[fits], outputs[fits], int((~fits).sum()))


@dataclass(frozen=True, slots=True)
class Drawn:
    """One of ours at one rate: means over the seeds."""

    rate: float
    latency_s: float
    gigabytes_moved: float
    tokens_recomputed: float


@dataclass(frozen=True, slots=True, eq=False)
class Redrawn:
    """A panel with the published curves and ours."""

    panel: Panel
    setting: Setting
    lengths: Lengths
    #: By (source, system).
    published: Mapping[tuple[str, str], Curve]
    ours: Mapping[str, tuple[Drawn, ...]]
    #: What `fcfs` finishes a second when all wait.
    drain_per_s: float

    def points(self, name: str) -> tuple[Point, ...]:
        """The curve of one of ours."""
        return tuple(Point(drawn.rate, drawn.latency_s) for drawn in self.ours[name])

    def crossings(self) -> dict[str, Crossing | None]:
        """Ours: the rate at which each reaches the limit."""
        return {name: crossing(self.points(name), self.setting.limit_s) for name in self.ours}

    def published_crossings(self) -> dict[tuple[str, str], Crossing | None]:
        return {key: crossing(curve.points, self.setting.limit_s) for key, curve in self.published.items()}

    def ratio(self, base: str) -> Crossing | None:
        """How many times the rate of `base` the best of ours bears; None: not known."""
        found = self.crossings()
        return over(found[self.panel.best], found[base])

    @property
    def holds(self) -> bool | None:
        """Whether the target is reached; None without one or where it is `unknown`."""
        if self.panel.target is None:
            return None
        base, times = self.panel.target
        found = self.crossings()
        return reaches(found[self.panel.best], found[base], times)

    @property
    def unknown(self) -> str | None:
        """Why `holds` is None though there is a target."""
        if self.panel.target is None or self.holds is not None:
            return None
        best, base = self.panel.best, self.panel.target[0]
        found, level = self.crossings(), f"{self.setting.limit_s:g} s per token"
        if found[base] is None:
            return f"{base} is above {level} at the lowest rate already"
        name = next(name for name in (base, best) if (one := found[name]) is not None and one.beyond)
        last = f"{self.points(name)[-1].rate:g}"
        return f"{name} stays below {level} up to {last} jobs a second; more --jobs load it longer"

    def rates(self) -> tuple[float, ...]:
        return tuple(sorted({drawn.rate for curve in self.ours.values() for drawn in curve}))


def over(best: Crossing | None, base: Crossing | None) -> Crossing | None:
    """The ratio of two rates, if it is known or has a lower bound."""
    return None if best is None or base is None or base.beyond else Crossing(best.rate / base.rate, best.beyond)


def reaches(best: Crossing | None, base: Crossing | None, times: float) -> bool | None:
    """Whether `best` is at least `times` (1 or more) `base`; None: not known."""
    if base is None:
        return None
    if best is None:  # at the lowest rate it is above the limit already, and `base` is not
        return False
    ratio = best.rate / base.rate
    if ratio >= times:
        return None if base.beyond else True
    return None if best.beyond else False


def rate_of(point: Point) -> float:
    """The rate that was set: what is read off a drawing is some thousandths beside it."""
    return round(point.rate, 2)


def redraw(panel: Panel, curves: tuple[Curve, ...], setting: Setting, bar: Bar) -> Redrawn:
    """Simulate the panel. Raises InvalidSettings, InvalidTrace."""
    published = panel.published(curves)
    lengths = open_lengths(setting.lengths or panel.lengths, setting.data_folder, setting.kv_tokens)
    rates = sorted({rate_of(point) for curve in published.values() for point in curve.points if point.measured})
    ours: dict[str, list[Drawn]] = {system.name: [] for system in panel.systems}
    with bar.steps(panel.name, len(rates) * len(panel.systems)) as ended:
        for rate in rates:
            for system in panel.systems:
                before = ours[system.name]
                if not before or before[-1].latency_s < TOP_LIMITS * setting.limit_s:
                    before.append(_drawn(panel, system, lengths, rate, setting))
                ended(1)
    for system in panel.systems:
        ours[system.name] += _further(panel, system, lengths, ours[system.name], setting)
    drained = fmean(_drained(panel, lengths, seed, setting) for seed in range(setting.seeds))
    return Redrawn(panel, setting, lengths, published, {name: tuple(points) for name, points in ours.items()}, drained)


def _further(panel: Panel, system: System, lengths: Lengths, points: list[Drawn], setting: Setting) -> Iterator[Drawn]:
    """Beyond the published rates, until the limit is reached."""
    if any(drawn.latency_s >= setting.limit_s for drawn in points):
        return
    rate = points[-1].rate
    for _ in range(STEPS):
        rate = round(rate * FURTHER, 2)
        drawn = _drawn(panel, system, lengths, rate, setting)
        yield drawn
        if drawn.latency_s >= setting.limit_s:
            return


def _drawn(panel: Panel, system: System, lengths: Lengths, rate: float, setting: Setting) -> Drawn:
    count = setting.jobs or panel.span.jobs(rate)
    results = [_run(panel, system, lengths.jobs(count, rate, seed), setting) for seed in range(setting.seeds)]
    return Drawn(
        rate,
        fmean(result.mean_normalized_latency_s or 0.0 for result in results),
        fmean((result.bytes_moved or 0) / 1e9 for result in results),
        fmean(result.tokens_recomputed or 0 for result in results),
    )


def _run(panel: Panel, system: System, jobs: Workload, setting: Setting) -> RunResult:
    return summarize(system.policy, 0, simulate(_machine(panel, system, jobs, setting), system.policy, jobs).jobs)


def _drained(panel: Panel, lengths: Lengths, seed: int, setting: Setting) -> float:
    jobs = lengths.jobs(setting.jobs or panel.span.most, 1.0, seed)
    return drain_rate(_machine(panel, panel.systems[0], jobs, setting), jobs)


def _machine(panel: Panel, system: System, jobs: Workload, setting: Setting) -> Machine:
    profile, starvation = load_profile(PROFILE), check_starvation(setting.starvation)
    machine = make_machine(profile, jobs, setting.batch, setting.kv_tokens, panel.host_tokens, starvation)
    return replace(machine, params=replace(machine.params, kv=system.kv), overlap=system.overlap)
