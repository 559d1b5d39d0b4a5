"""What repeated runs of the demo show: how true the simulator is, and who beats `fcfs`.

Policies take turns, and a profile is measured before each live run and after it, never fitted on
the run itself. What is half way between the two predicts the run. Where they are far apart the
machine changed meanwhile: the run is shown but set apart.

Near saturation an iteration that is 1 % longer makes the mean JCT 4 to 6 % longer, so the speed of
the machine hides what the simulator gets wrong. The two are judged one by one: the *cost model* by
what it predicted of the run's iterations over what its record measured, and the *simulator* by its
mean JCT over the live one when it has the costs of that run, fitted to its record. Servers and
simulated runs alike begin with nothing learned.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from statistics import median

from ...core.cost_model import CostModel
from ...core.errors import InvalidProfile
from ...cost.schema import Profile
from ...cost.sweep_row import SweepRow
from ...engine.record import measured_iterations
from ...profiler.fit import fit_cost_model
from ...profiler.rehearsal import summing
from ...workload.requests import Workload
from ..figures import held, near_one
from ..yardstick import MOST_DRIFT
from .runs import LONGEST_S, Pair, RunContext, fresh_profile, paired, run_live, simulated
from .scenario import Scenario

WITHIN = 0.10
BASE = "fcfs"
PROMPTS, DECODES, BOTH = "prompts", "decodes", "both"
KINDS = (PROMPTS, DECODES, BOTH)


@dataclass(frozen=True, slots=True)
class Kind:
    """The iterations of one kind in a live run, and the seconds of all of them together."""

    iterations: int
    predicted_s: float
    measured_s: float

    @property
    def ratio(self) -> float:
        """Predicted over measured."""
        return self.predicted_s / self.measured_s


@dataclass(frozen=True, slots=True)
class Repeat:
    """One live run and its simulation."""

    number: int
    pair: Pair
    #: The run's iterations by the profile measured after it over those by the one before, less 1.
    drift: float = 0.0
    #: By those of KINDS that it had.
    kinds: Mapping[str, Kind] = field(default_factory=dict)
    #: The simulated mean JCT with the costs of this run; None: its record says too little for a
    #: fit.
    own_jct_s: float | None = None

    @property
    def truth(self) -> float | None:
        """Simulated over live mean JCT, both at the speed of this run; None: not known."""
        live = self.pair.live.mean_jct_s
        return None if self.own_jct_s is None or not live else self.own_jct_s / live

    @property
    def cost(self) -> float | None:
        """Predicted over measured time of all iterations; None without any."""
        measured = sum(kind.measured_s for kind in self.kinds.values())
        return sum(kind.predicted_s for kind in self.kinds.values()) / measured if measured else None

    @property
    def apart(self) -> bool:
        """Whether the machine changed meanwhile, or requests were sent late."""
        return abs(self.drift) > MOST_DRIFT or not self.pair.trustworthy


@dataclass(frozen=True, slots=True)
class Fidelity:
    """One policy in a scenario, run by run."""

    scenario: str
    policy: str
    #: Simulated over live mean JCT by the profile, of the runs that count.
    ratios: tuple[float, ...]
    live_jct_s: tuple[float, ...]
    #: Live mean JCT over that of `fcfs` in the same round.
    over_base: tuple[float, ...] = ()
    #: The bar for its median; None where there is none.
    most_over_base: float | None = None
    #: Requests of all runs.
    failed: int = 0
    #: `ratios` of the runs that were set apart.
    apart: tuple[float, ...] = ()
    #: The medians of `costs` by kind.
    kinds: Mapping[str, float] = field(default_factory=dict)
    #: Simulated over live mean JCT at each run's own speed, where requests were sent in time.
    truths: tuple[float, ...] = ()
    #: Predicted over measured time of the runs that count.
    costs: tuple[float, ...] = ()

    @property
    def median(self) -> float | None:
        """Of simulated over live by the profile; None where every run was set apart."""
        return median(self.ratios) if self.ratios else None

    @property
    def faithful(self) -> bool | None:
        """Whether the simulator is within ten per cent in the median; None where no run says so."""
        return near_one(self.truths, WITHIN)

    @property
    def priced(self) -> bool | None:
        """Whether the profile is within ten per cent in the median; None: no run says so."""
        return near_one(self.costs, WITHIN)

    @property
    def median_over_base(self) -> float | None:
        """Of live mean JCT over that of `fcfs`; None for `fcfs` itself or without it."""
        return median(self.over_base) if self.over_base else None

    @property
    def early(self) -> bool | None:
        """Whether the median over `fcfs` is within its bar; None without either."""
        return held(self.median_over_base, self.most_over_base, at_most=True)

    @property
    def holds(self) -> bool:
        """All of it. A mean over those requests that did not fail is none."""
        return False not in (self.faithful, self.priced, self.early) and not self.failed

    @property
    def live_spread(self) -> float:
        """Largest over smallest live mean JCT, less one: how much the machine itself drifts."""
        return max(self.live_jct_s) / min(self.live_jct_s) - 1.0

    def as_json(self) -> dict[str, object]:
        more = {"median": self.median, "median_over_base": self.median_over_base, "holds": self.holds}
        return asdict(self) | more


def repeat(scenario: Scenario, policies: Sequence[str], times: int, context: RunContext) -> Iterator[Repeat | Fidelity]:
    """Every run as it ends, then a `Fidelity` for each policy. Raises Unavailable."""
    rounds: list[dict[str, Repeat]] = []
    workload: Workload | None = None
    model, kept = context.models[scenario.model], context.record or context.folder
    files = [context.folder / "profile-before.json", context.folder / "profile-after.json"]
    before = fresh_profile(model, scenario, files[0])
    for number in range(times):
        rounds.append({})
        for policy in policies:
            if workload is None:  # the same jobs at the same times in every run: only the machine differs
                workload, _ = scenario.fitted(before, LONGEST_S)
            record = kept / f"{scenario.slug()}-{number}-{policy}.jsonl"
            run = run_live(scenario, policy, files[0], workload, context, record)
            after = fresh_profile(model, scenario, files[1])
            profile = replace(before, model=before.model.between(after.model), tables=None)
            pair = paired(scenario, policy, profile, run)
            rows = measured_iterations(record)
            drift = _predicted_s(after.cost, rows) / _predicted_s(before.cost, rows) - 1.0
            own_jct_s = at_own_speed(scenario, policy, profile, run.workload, rows)
            rounds[-1][policy] = Repeat(number, pair, drift, by_kind(rows, profile.cost), own_jct_s)
            yield rounds[-1][policy]
            before = after  # the next run's
            files[1].replace(files[0])
    yield from verdicts(scenario, rounds)


def at_own_speed(
    scenario: Scenario, policy: str, profile: Profile, workload: Workload, rows: Sequence[SweepRow]
) -> float | None:
    """The simulated mean JCT with costs fitted to a run's iterations; None: too few."""
    try:
        fitted, fit = fit_cost_model(rows, profile.model.move_token_ns)
    except InvalidProfile:
        return None
    own = replace(profile, model=summing(fitted, rows), fit=fit, tables=None)
    return simulated(scenario, policy, own, workload).mean_jct_s


def by_kind(rows: Sequence[SweepRow], cost: CostModel) -> dict[str, Kind]:
    """Measured iterations beside what `cost` says of them, by kind."""
    parts: dict[str, list[SweepRow]] = {kind: [] for kind in KINDS}
    for row in rows:
        parts[DECODES if not row.chunks else BOTH if row.decode_jobs else PROMPTS].append(row)
    return {
        kind: Kind(len(part), _predicted_s(cost, part), sum(row.measured_ns for row in part) / 1e9)
        for kind, part in parts.items()
        if part
    }


def _predicted_s(cost: CostModel, rows: Sequence[SweepRow]) -> float:
    return sum(cost.iteration_ns(row.chunks, row.decode_jobs, row.decode_contexts) for row in rows) / 1e9


def verdicts(scenario: Scenario, rounds: Sequence[Mapping[str, Repeat]]) -> Iterator[Fidelity]:
    """What the rounds, one run of each policy, show of those with a live mean JCT."""
    for policy in rounds[0] if rounds else ():
        runs = [done[policy] for done in rounds]
        known = [(one, one.pair.fidelity) for one in runs if one.pair.fidelity is not None]
        if not known:
            continue
        counted = [one for one, _ in known if not one.apart]
        kinds = {kind: [one.kinds[kind].ratio for one in counted if kind in one.kinds] for kind in KINDS}
        yield Fidelity(
            scenario=scenario.title,
            policy=policy,
            ratios=tuple(ratio for one, ratio in known if not one.apart),
            live_jct_s=tuple(one.pair.live.mean_jct_s for one in runs if one.pair.live.mean_jct_s is not None),
            over_base=() if policy == BASE else tuple(_over_base(policy, rounds)),
            most_over_base=scenario.max_adaptive_jct_ratio if policy == "adaptive" else None,
            failed=sum(len(one.pair.failures) for one in runs),
            apart=tuple(ratio for one, ratio in known if one.apart),
            kinds={kind: median(ratios) for kind, ratios in kinds.items() if ratios},
            truths=tuple(one.truth for one in runs if one.truth is not None and one.pair.trustworthy),
            costs=tuple(one.cost for one in counted if one.cost is not None),
        )


def _over_base(policy: str, rounds: Sequence[Mapping[str, Repeat]]) -> Iterator[float]:
    """Round by round, since the machine drifts between rounds more than within one."""
    for done in rounds:
        ours, base = done[policy].pair.live.mean_jct_s, done[BASE].pair.live.mean_jct_s if BASE in done else None
        if ours is not None and base:
            yield ours / base
