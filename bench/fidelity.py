"""What repeated runs of the demo show: how true the simulator is, and each policy's mean JCT beside that of `fcfs`.

Owns the repetition: policies take turns, and each run has a profile measured just before it, never one fitted on the run itself. Servers and
simulated runs alike begin with nothing learned. It renders nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from ..workload.requests import Workload
from .demo import LONGEST_S, Stage, fresh_profile, run_pair
from .outcome import Pair
from .scenario import Scenario

WITHIN = 0.10
BASE = "fcfs"


@dataclass(frozen=True, slots=True)
class Repeat:
    """One live run and its simulation."""

    number: int
    pair: Pair


@dataclass(frozen=True, slots=True)
class Fidelity:
    """One policy in a scenario, run by run: simulated over live mean JCT, live mean JCT, and that over `fcfs`'s of the same round.

    `most_over_base` is the bar for the last, None where there is none. `failed` counts requests of all runs.
    """

    scenario: str
    policy: str
    ratios: tuple[float, ...]
    live_jct_s: tuple[float, ...]
    over_base: tuple[float, ...] = ()
    most_over_base: float | None = None
    failed: int = 0

    @property
    def median(self) -> float:
        """Of simulated over live."""
        return median(self.ratios)

    @property
    def faithful(self) -> bool:
        """Whether the simulator is within ten per cent in the median."""
        return abs(self.median - 1.0) <= WITHIN

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
        return self.faithful and self.early is not False and not self.failed

    @property
    def live_spread(self) -> float:
        """Largest over smallest live mean JCT, less one: how much the machine itself drifts."""
        return max(self.live_jct_s) / min(self.live_jct_s) - 1.0


def repeat(scenario: Scenario, policies: Sequence[str], times: int, stage: Stage) -> Iterator[Repeat | Fidelity]:
    """Every run as it ends, then a `Fidelity` for each policy. Raises InvalidSettings, Unavailable."""
    rounds: list[dict[str, Pair]] = []
    workload: Workload | None = None
    for number in range(times):
        rounds.append({})
        for policy in policies:
            profile_file = stage.folder / f"profile-{number}-{policy}.json"
            profile = fresh_profile(stage.models[scenario.model], scenario, profile_file)
            if workload is None:  # the same jobs at the same times in every run: only the machine differs
                workload, _ = scenario.fitted(profile, LONGEST_S)
            record = f"{scenario.slug()}-{number}-{policy}"
            pair = run_pair(scenario, policy, profile_file, workload, stage, record)
            rounds[-1][policy] = pair
            yield Repeat(number, pair)
    yield from verdicts(scenario, rounds)


def verdicts(scenario: Scenario, rounds: Sequence[Mapping[str, Pair]]) -> Iterator[Fidelity]:
    """What the rounds show of each policy that has a live mean JCT. A round holds one run of each policy."""
    for policy in rounds[0] if rounds else ():
        pairs = [done[policy] for done in rounds]
        ratios = tuple(pair.fidelity for pair in pairs if pair.fidelity is not None)
        if not ratios:
            continue
        yield Fidelity(
            scenario=scenario.title,
            policy=policy,
            ratios=ratios,
            live_jct_s=tuple(pair.live.mean_jct_s for pair in pairs if pair.live.mean_jct_s is not None),
            over_base=() if policy == BASE else tuple(_over_base(policy, rounds)),
            most_over_base=scenario.max_adaptive_jct_ratio if policy == "adaptive" else None,
            failed=sum(len(pair.failures) for pair in pairs),
        )


def _over_base(policy: str, rounds: Sequence[Mapping[str, Pair]]) -> Iterator[float]:
    """Round by round, since the machine drifts between rounds more than within one."""
    for done in rounds:
        ours, base = done[policy].live.mean_jct_s, done[BASE].live.mean_jct_s if BASE in done else None
        if ours is not None and base:
            yield ours / base
