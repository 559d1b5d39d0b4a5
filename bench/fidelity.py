"""What repeated runs of the demo show: how true the simulator is, and each policy's mean JCT beside that of `fcfs`.

Owns the repetition: policies take turns, and a profile is measured before each live run and after it, never fitted on the run itself. The simulator
gets what is half way between the two; where they are far apart the machine changed meanwhile, and the run is shown but set apart. From the run's own
record comes how long iterations of each kind were predicted and measured. Servers and simulated runs alike begin with nothing learned. It renders
nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import median

from ..core.ports import CostModel
from ..engine.record import measured_iterations
from ..profiler.fit import SweepRow
from ..workload.requests import Workload
from .demo import LONGEST_S, Stage, fresh_profile, paired, run_live
from .outcome import Pair
from .scenario import Scenario
from .yardstick import MOST_DRIFT

WITHIN = 0.10
BASE = "fcfs"
PROMPTS, DECODES, BOTH = "prompts", "decodes", "both"
KINDS = (PROMPTS, DECODES, BOTH)


@dataclass(frozen=True, slots=True)
class Kind:
    """The iterations of one kind in a live run: prompts alone, decodes alone, or both in one. Seconds of all of them together."""

    iterations: int
    predicted_s: float
    measured_s: float

    @property
    def ratio(self) -> float:
        """Predicted over measured."""
        return self.predicted_s / self.measured_s


@dataclass(frozen=True, slots=True)
class Repeat:
    """One live run and its simulation. `drift`: what the run's iterations take by the profile measured after it over that by the one before, less 1.
    `kinds`: by those of KINDS that it had."""

    number: int
    pair: Pair
    drift: float = 0.0
    kinds: Mapping[str, Kind] = field(default_factory=dict)

    @property
    def apart(self) -> bool:
        """Whether the run says nothing about the simulator: the machine was another one before and after, or requests were sent late."""
        return abs(self.drift) > MOST_DRIFT or not self.pair.trustworthy


@dataclass(frozen=True, slots=True)
class Fidelity:
    """One policy in a scenario, run by run: simulated over live mean JCT, live mean JCT, and that over `fcfs`'s of the same round.

    `ratios` are those of the runs that count, `apart` those of the others, `kinds` the medians over the former of predicted over measured time.
    `most_over_base` is the bar for the last, None where there is none. `failed` counts requests of all runs.
    """

    scenario: str
    policy: str
    ratios: tuple[float, ...]
    live_jct_s: tuple[float, ...]
    over_base: tuple[float, ...] = ()
    most_over_base: float | None = None
    failed: int = 0
    apart: tuple[float, ...] = ()
    kinds: Mapping[str, float] = field(default_factory=dict)

    @property
    def median(self) -> float | None:
        """Of simulated over live; None where every run was set apart."""
        return median(self.ratios) if self.ratios else None

    @property
    def faithful(self) -> bool | None:
        """Whether the simulator is within ten per cent in the median; None where no run says so."""
        return None if self.median is None else abs(self.median - 1.0) <= WITHIN

    @property
    def median_over_base(self) -> float | None:
        """Of live mean JCT over that of `fcfs`; None for `fcfs` itself, and where it did not run."""
        return median(self.over_base) if self.over_base else None

    @property
    def early(self) -> bool | None:
        """Whether the median over `fcfs` is within its bar; None without a bar or without `fcfs`."""
        ratio = self.median_over_base
        return None if ratio is None or self.most_over_base is None else ratio <= self.most_over_base

    @property
    def holds(self) -> bool:
        """All of it. A mean over those requests that did not fail is none."""
        return self.faithful is not False and self.early is not False and not self.failed

    @property
    def live_spread(self) -> float:
        """Largest over smallest live mean JCT, less one: how much the machine itself drifts."""
        return max(self.live_jct_s) / min(self.live_jct_s) - 1.0


def repeat(scenario: Scenario, policies: Sequence[str], times: int, stage: Stage) -> Iterator[Repeat | Fidelity]:
    """Every run as it ends, then a `Fidelity` for each policy. Raises InvalidSettings, Unavailable."""
    rounds: list[dict[str, Repeat]] = []
    workload: Workload | None = None
    model, kept = stage.models[scenario.model], stage.record or stage.folder
    files = [stage.folder / "profile-before.json", stage.folder / "profile-after.json"]
    before = fresh_profile(model, scenario, files[0])
    for number in range(times):
        rounds.append({})
        for policy in policies:
            if workload is None:  # the same jobs at the same times in every run: only the machine differs
                workload, _ = scenario.fitted(before, LONGEST_S)
            record = kept / f"{scenario.slug()}-{number}-{policy}.jsonl"
            run = run_live(scenario, policy, files[0], workload, stage, record)
            after = fresh_profile(model, scenario, files[1])
            profile = replace(before, model=before.model.between(after.model), tables=None)
            pair = paired(scenario, policy, profile, run)
            rows = measured_iterations(record)
            drift = _predicted_s(after.cost, rows) / _predicted_s(before.cost, rows) - 1.0
            rounds[-1][policy] = Repeat(number, pair, drift, by_kind(rows, profile.cost))
            yield rounds[-1][policy]
            before = after  # the next run's
            files[0].unlink()
            files[1].rename(files[0])
    yield from verdicts(scenario, rounds)


def by_kind(rows: Sequence[SweepRow], cost: CostModel) -> dict[str, Kind]:
    """Iterations that were measured beside what `cost` says of them, by kind."""
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
    """What the rounds show of each policy that has a live mean JCT. A round holds one run of each policy."""
    for policy in rounds[0] if rounds else ():
        runs = [done[policy] for done in rounds]
        known = [(one, one.pair.fidelity) for one in runs if one.pair.fidelity is not None]
        if not known:
            continue
        counted = [one for one, _ in known if not one.apart]
        yield Fidelity(
            scenario=scenario.title,
            policy=policy,
            ratios=tuple(ratio for one, ratio in known if not one.apart),
            live_jct_s=tuple(one.pair.live.mean_jct_s for one in runs if one.pair.live.mean_jct_s is not None),
            over_base=() if policy == BASE else tuple(_over_base(policy, rounds)),
            most_over_base=scenario.max_adaptive_jct_ratio if policy == "adaptive" else None,
            failed=sum(len(one.pair.failures) for one in runs),
            apart=tuple(ratio for one, ratio in known if one.apart),
            kinds={
                kind: median(ratios)
                for kind in KINDS
                if (ratios := [one.kinds[kind].ratio for one in counted if kind in one.kinds])
            },
        )


def _over_base(policy: str, rounds: Sequence[Mapping[str, Repeat]]) -> Iterator[float]:
    """Round by round, since the machine drifts between rounds more than within one."""
    for done in rounds:
        ours, base = done[policy].pair.live.mean_jct_s, done[BASE].pair.live.mean_jct_s if BASE in done else None
        if ours is not None and base:
            yield ours / base
