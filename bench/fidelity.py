"""How true the simulator is: live against simulated mean JCT, several times over.

Owns the repetition: each run has a profile measured just before it, never one fitted on the run itself, and policies take turns. It renders nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median

from ..workload.requests import Workload
from .demo import LONGEST_S, Pair, Stage, fresh_profile, run_pair
from .scenario import Scenario

WITHIN = 0.10


@dataclass(frozen=True, slots=True)
class Repeat:
    """One live run and its simulation."""

    number: int
    pair: Pair


@dataclass(frozen=True, slots=True)
class Fidelity:
    """Simulated over live mean JCT of one policy: each run, median, smallest and largest; and how far equal live runs differ."""

    policy: str
    ratios: tuple[float, ...]
    live_jct_s: tuple[float, ...]

    @property
    def median(self) -> float:
        """Of the ratios."""
        return median(self.ratios)

    @property
    def holds(self) -> bool:
        """Within ten per cent in the median."""
        return abs(self.median - 1.0) <= WITHIN

    @property
    def live_spread(self) -> float:
        """Largest over smallest live mean JCT, less one: how much the machine itself drifts."""
        return max(self.live_jct_s) / min(self.live_jct_s) - 1.0


def repeat(scenario: Scenario, policies: Sequence[str], times: int, stage: Stage) -> Iterator[Repeat | Fidelity]:
    """Every run as it ends, then a `Fidelity` for each policy. Raises InvalidSettings, Unavailable."""
    pairs: dict[str, list[Pair]] = {policy: [] for policy in policies}
    workload: Workload | None = None
    for number in range(times):
        for policy in policies:
            profile_file = stage.folder / f"profile-{number}-{policy}.json"
            profile = fresh_profile(stage.models[scenario.model], scenario, profile_file)
            if workload is None:  # the same jobs at the same times in every run: only the machine differs
                workload, _ = scenario.fitted(profile, LONGEST_S)
            pair = run_pair(scenario, policy, profile_file, workload, stage, f"fidelity-{number}-{policy}")
            pairs[policy].append(pair)
            yield Repeat(number, pair)
    for policy, done in pairs.items():
        ratios = tuple(pair.fidelity for pair in done if pair.fidelity is not None)
        lives = tuple(pair.live.mean_jct_s for pair in done if pair.live.mean_jct_s is not None)
        if ratios:
            yield Fidelity(policy, ratios, lives)
