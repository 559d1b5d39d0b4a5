"""What came of a scenario of the demo: each policy live and simulated, and the bars between them.

Owns the pairs, their judgement by the bars of the scenario file, and the JSON value. It runs
nothing and renders nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from ...workload.statistics import RunResult
from .scenario import Scenario


@dataclass(frozen=True, slots=True)
class Pair:
    """One policy: what the server did, and what the simulator says of the same jobs."""

    policy: str
    live: RunResult
    simulated: RunResult
    failures: tuple[str, ...]
    lag_p99_ms: float
    trustworthy: bool

    @property
    def fidelity(self) -> float | None:
        """Simulated over live mean JCT."""
        if self.live.mean_jct_s is None or self.simulated.mean_jct_s is None:
            return None
        return self.simulated.mean_jct_s / self.live.mean_jct_s


@dataclass(frozen=True, slots=True)
class Claim:
    """One thing that a scenario must show: a sentence with its figure, and whether it holds."""

    says: str
    holds: bool
    #: A busy machine may have made it so.
    timed: bool = True


@dataclass(frozen=True, slots=True)
class Outcome:
    """A scenario's."""

    scenario: Scenario
    requests: int
    rate_per_s: float
    drain_rate_per_s: float
    pairs: tuple[Pair, ...]
    oracle: RunResult
    #: What else the machine was doing meanwhile, with the figures; () where it was quiet.
    noise: tuple[str, ...] = ()

    @property
    def disturbed(self) -> tuple[str, ...]:
        """Why no figure of time is judged: the noise, and runs whose requests were sent late."""
        late = (pair for pair in self.pairs if not pair.trustworthy)
        return (*self.noise, *(f"the generator was {one.lag_p99_ms:.1f} ms late under {one.policy}" for one in late))

    def holds(self, *, strict: bool) -> bool:
        """Whether every claim does; on a busy machine only what is not timed, unless `strict`."""
        return all(claim.holds for claim in self.claims() if strict or not self.disturbed or not claim.timed)

    def as_json(self) -> dict[str, object]:
        """Plain values: served and simulated results, and the bars."""
        return {
            "scenario": self.scenario.title,
            "seed": self.scenario.seed,
            "load": self.scenario.load,
            "requests": self.requests,
            "rate_per_s": self.rate_per_s,
            "drain_rate_per_s": self.drain_rate_per_s,
            "results": [dict(pair.live.as_json()) for pair in self.pairs],
            "simulated": [dict(one.as_json()) for one in (*(pair.simulated for pair in self.pairs), self.oracle)],
            "failed": {pair.policy: len(pair.failures) for pair in self.pairs},
            "lag_p99_ms": {pair.policy: pair.lag_p99_ms for pair in self.pairs},
            "disturbed": list(self.disturbed),
            "bars": [{"says": claim.says, "holds": claim.holds} for claim in self.claims()],
        }

    def claims(self) -> list[Claim]:
        """What must hold beside fcfs. Of a policy that did not run nothing is judged."""
        claims = [
            Claim(f"{pair.policy}: {len(pair.failures)} requests failed, first: {pair.failures[0]}", False, timed=False)
            for pair in self.pairs
            if pair.failures
        ]
        live = {pair.policy: pair.live for pair in self.pairs}
        if (fcfs := live.get("fcfs")) is None:
            return claims
        most = self.scenario.max_adaptive_jct_ratio
        if (skipjoin := live.get("skipjoin")) is not None:
            claims += _of_skipjoin(self.scenario, skipjoin, fcfs)
        if (adaptive := live.get("adaptive")) is not None and most is not None:
            ratio = _over(adaptive.mean_jct_s, fcfs.mean_jct_s)
            claims.append(Claim(f"mean JCT of adaptive {ratio:.2f}x fcfs's (bar: at most {most:g})", ratio <= most))
        return claims


def _of_skipjoin(scenario: Scenario, ours: RunResult, fcfs: RunResult) -> list[Claim]:
    claims = []
    if (most := scenario.max_latency_ratio) is not None:
        ratio = _over(ours.mean_normalized_latency_s, fcfs.mean_normalized_latency_s)
        says = f"mean normalised latency of skipjoin {ratio:.2f}x fcfs's (bar: at most {most:g})"
        claims.append(Claim(says, ratio <= most))
    if (least := scenario.min_throughput_ratio) is not None:
        ratio = _over(ours.output_token_throughput, fcfs.output_token_throughput)
        says = f"output tokens a second of skipjoin {ratio:.2f}x fcfs's (bar: at least {least:g})"
        claims.append(Claim(says, ratio >= least))
        moved, preempted = ours.bytes_moved or 0, ours.preemptions or 0
        says = f"{preempted} preemptions and {moved / 1e6:.0f} MB of KV moved by skipjoin (bar: both above 0)"
        claims.append(Claim(says, moved > 0 and preempted > 0))
    return claims


def _over(ours: float | None, theirs: float | None) -> float:
    return float("nan") if ours is None or not theirs else ours / theirs
