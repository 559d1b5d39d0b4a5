"""What came of a scenario of the demo: each policy live and simulated, and the bars that must hold between them.

Owns the pairs, their judgement by the bars of the scenario file, and the JSON value. It runs nothing (bench/demo does) and renders nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..workload.statistics import RunResult
from .scenario import Scenario


@dataclass(frozen=True, slots=True)
class Pair:
    """One policy: what the server did, what the simulator says of the same jobs with the profile measured before."""

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
class Bar:
    """One thing that a scenario must show: a sentence with its figure, and whether it holds. `timed`: a busy machine may have made it so."""

    says: str
    holds: bool
    timed: bool = True


@dataclass(frozen=True, slots=True)
class Shown:
    """A scenario's outcome. `noise`: what else the machine was doing meanwhile, with the figures; () where it was quiet."""

    scenario: Scenario
    requests: int
    rate_per_s: float
    drain_rate_per_s: float
    pairs: tuple[Pair, ...]
    oracle: RunResult
    noise: tuple[str, ...] = ()

    @property
    def disturbed(self) -> tuple[str, ...]:
        """Why no figure of time is to be judged: the noise, and each run whose requests were sent late."""
        late = (pair for pair in self.pairs if not pair.trustworthy)
        return (*self.noise, *(f"the generator was {one.lag_p99_ms:.1f} ms late under {one.policy}" for one in late))

    def holds(self, *, strict: bool) -> bool:
        """Whether every bar does that can be judged: on a busy machine none that is timed, unless `strict`."""
        return all(bar.holds for bar in self.bars() if strict or not self.disturbed or not bar.timed)

    def as_json(self) -> dict[str, object]:
        """Plain values: for each policy the live and the simulated result, the oracle's, and the bars."""
        return {
            "scenario": self.scenario.title,
            "seed": self.scenario.seed,
            "load": self.scenario.load,
            "requests": self.requests,
            "rate_per_s": self.rate_per_s,
            "drain_rate_per_s": self.drain_rate_per_s,
            "results": [dict(pair.live.as_json()) for pair in self.pairs],
            "simulated": [dict(pair.simulated.as_json()) for pair in self.pairs] + [dict(self.oracle.as_json())],
            "failed": {pair.policy: len(pair.failures) for pair in self.pairs},
            "lag_p99_ms": {pair.policy: pair.lag_p99_ms for pair in self.pairs},
            "disturbed": list(self.disturbed),
            "bars": [{"says": bar.says, "holds": bar.holds} for bar in self.bars()],
        }

    def bars(self) -> list[Bar]:
        """What must hold beside fcfs. Of a policy that did not run nothing is judged."""
        bars = [
            Bar(f"{pair.policy}: {len(pair.failures)} requests failed, first: {pair.failures[0]}", False, timed=False)
            for pair in self.pairs
            if pair.failures
        ]
        by_name = {pair.policy: pair.live for pair in self.pairs}
        fcfs, skipjoin, adaptive = (by_name.get(name) for name in ("fcfs", "skipjoin", "adaptive"))
        if fcfs is not None and skipjoin is not None:
            bars += _bars_of_skipjoin(self.scenario, skipjoin, fcfs)
        if fcfs is not None and adaptive is not None and (most := self.scenario.max_adaptive_jct_ratio) is not None:
            ratio = _over(adaptive.mean_jct_s, fcfs.mean_jct_s)
            bars.append(Bar(f"mean JCT of adaptive {ratio:.2f}x fcfs's (bar: at most {most:g})", ratio <= most))
        return bars


def _bars_of_skipjoin(scenario: Scenario, ours: RunResult, fcfs: RunResult) -> list[Bar]:
    bars = []
    most, least = scenario.max_latency_ratio, scenario.min_throughput_ratio
    if most is not None:
        ratio = _over(ours.mean_normalized_latency_s, fcfs.mean_normalized_latency_s)
        bars.append(
            Bar(f"mean normalised latency of skipjoin {ratio:.2f}x fcfs's (bar: at most {most:g})", ratio <= most)
        )
    if least is not None:
        ratio = _over(ours.output_token_throughput, fcfs.output_token_throughput)
        bars.append(
            Bar(f"output tokens a second of skipjoin {ratio:.2f}x fcfs's (bar: at least {least:g})", ratio >= least)
        )
        moved, preempted = ours.bytes_moved or 0, ours.preemptions or 0
        bars.append(
            Bar(
                f"{preempted} preemptions and {moved / 1e6:.0f} MB of KV moved by skipjoin (bar: both above 0)",
                moved > 0 and preempted > 0,
            )
        )
    return bars


def _over(ours: float | None, theirs: float | None) -> float:
    return float("nan") if ours is None or not theirs else ours / theirs
