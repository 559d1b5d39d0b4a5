"""Runs of the demo: a profile, jobs that fit, a server for each policy, the simulator; and what came
of them.

Owns the order of the steps, the pairs of live and simulated runs, and their judgement by the bars of
the scenario file. It renders nothing.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ...client import AsyncClient
from ...core.clock import Clock
from ...core.errors import InvalidSettings
from ...cost.profiles import load_profile
from ...cost.schema import Profile
from ...serving.door.policies import LIVE_POLICIES
from ...sim.world import simulate
from ...workload.requests import Workload
from ...workload.statistics import RunResult, summarize
from ..cached_model import run_command
from ..figures import held
from ..load.loops import LoadRun, offer, requests_of
from ..load.process import OwnServer, compute_threads
from ..load.skipjoin_target import MetricsPage, SkipjoinTarget
from ..progress import Bar
from ..yardstick import disturbances, look
from .scenario import PAGE_TOKENS, Scenario


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


BARS = (
    ("skipjoin", "mean_normalized_latency_s", "max_latency_ratio", "mean normalised latency"),
    ("skipjoin", "output_token_throughput", "min_throughput_ratio", "output tokens a second"),
    ("adaptive", "mean_jct_s", "max_adaptive_jct_ratio", "mean JCT"),
)
"""Policy, field of its result, field of the scenario with the bar beside `fcfs`, words."""


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
        for policy, measure, field, words in BARS:
            bar, ours = getattr(self.scenario, field), live.get(policy)
            if bar is None or ours is None:
                continue
            ratio, at_most = _over(getattr(ours, measure), getattr(fcfs, measure)), field.startswith("max")
            kept = held(ratio, bar, at_most=at_most) is True
            bound = f"(bar: at {'most' if at_most else 'least'} {bar:g})"
            claims.append(Claim(f"{words} of {policy} {ratio:.2f}x fcfs's {bound}", kept))
            if not at_most:
                claims.append(_moved(ours))
        return claims


def _moved(ours: RunResult) -> Claim:
    moved, preempted = ours.bytes_moved or 0, ours.preemptions or 0
    says = f"{preempted} preemptions and {moved / 1e6:.0f} MB of KV moved by skipjoin (bar: both above 0)"
    return Claim(says, moved > 0 and preempted > 0)


def _over(ours: float | None, theirs: float | None) -> float:
    return float("nan") if ours is None or not theirs else ours / theirs


LONGEST_S = 32.0
"""The simulator's makespan that a run may have. Live ones come out a little longer; six of them,
two profiles and the starts end in 5 minutes."""
PROFILE_S = 20.0
ORACLE = "srpt-oracle"
VOCABULARY = 256


@dataclass(frozen=True, slots=True)
class RunContext:
    """Where runs take place."""

    #: Folder by preset.
    models: Mapping[str, Path]
    #: For profiles.
    folder: Path
    #: For the engines' records; None: none are kept.
    record: Path | None
    clock: Clock
    bar: Bar


def check_policies(policies: Sequence[str]) -> None:
    """Raise InvalidSettings for none, or one that a server does not have."""
    for policy in policies or ("",):
        if policy not in LIVE_POLICIES:
            known = f"of {', '.join(LIVE_POLICIES)}"
            raise InvalidSettings(f"The demo cannot run policy {policy!r}.", field="policies", limit=known)


def engine_flags(scenario: Scenario) -> tuple[str, ...]:
    """What the measuring and the serving engine have in common."""
    return (
        *("--device", "cpu", "--dtype", "float32", "--threads", str(compute_threads())),
        *("--max-batch", str(scenario.max_batch)),
        *("--kv-tokens", str(scenario.kv_pages() * PAGE_TOKENS)),
        *("--host-kv-tokens", str(scenario.host_pages() * PAGE_TOKENS)),
    )


def fresh_profile(model: Path, scenario: Scenario, file: Path) -> Profile:
    """Measured now, with the threads, the batch and the pools that the server will have."""
    words = ("--model", str(model), "--out", str(file), *engine_flags(scenario), "--budget-s", f"{PROFILE_S:g}")
    run_command("profile", "measure", *words)
    return load_profile(str(file))


async def drive(server: OwnServer, workload: Workload, clock: Clock, bar: Bar) -> LoadRun:
    """Offer the workload to a server and wait for every answer."""
    metrics = None if server.http_url is None else MetricsPage(f"{server.http_url}/metrics")
    target = SkipjoinTarget(lambda: AsyncClient(server.address), clock, metrics)
    try:
        return await offer(target, workload, requests_of(workload, VOCABULARY), clock, ended=bar.ended)
    finally:
        await target.close()


def run_live(
    scenario: Scenario, policy: str, profile_file: Path, workload: Workload, context: RunContext, record: Path | None
) -> LoadRun:
    """One policy on a server with that profile and the scenario's pools.

    Its durable job pool goes with it. `record`: where its engine's record goes, when it is kept.
    """
    flags = [
        *("--model", str(context.models[scenario.model]), "--policy", policy, "--profile", str(profile_file)),
        *engine_flags(scenario),
        *(() if record is None else ("--record", str(record))),
    ]
    with (
        context.bar.steps(f"{scenario.title}, {policy}", len(workload)),
        tempfile.TemporaryDirectory(prefix="skipjoin-demo-") as folder,
        OwnServer(Path(folder), flags) as server,
    ):
        return asyncio.run(drive(server, workload, context.clock, context.bar))


def simulated(scenario: Scenario, policy: str, profile: Profile, workload: Workload) -> RunResult:
    """What `profile` says of the same jobs."""
    return summarize(policy, workload.refused, simulate(scenario.machine(profile), policy, workload).jobs)


def paired(scenario: Scenario, policy: str, profile: Profile, run: LoadRun) -> Pair:
    """A live run beside its simulation."""
    live = replace(run.results(profile.cost.alone_ns), policy=policy)
    again = simulated(scenario, policy, profile, run.workload)
    return Pair(policy, live, again, tuple(run.failures), run.lag_ms[0], run.trustworthy)


def run_scenario(scenario: Scenario, policies: Sequence[str], context: RunContext) -> Outcome:
    """Each policy with the same jobs at the same times. Raises InvalidSettings, Unavailable."""
    note = context.bar.note
    note(f"{scenario.title}: {scenario.about}")
    note(f"measuring what iterations cost here, about {PROFILE_S:g} s")
    profile_file = context.folder / "profile.json"
    looks = [look(context.clock)]
    profile = fresh_profile(context.models[scenario.model], scenario, profile_file)
    workload, drained = scenario.fitted(profile, LONGEST_S)
    if len(workload) + workload.refused < scenario.requests:
        note(
            f"this machine gets the first {len(workload)} of {scenario.requests} jobs (seed {scenario.seed}),"
            f" so that a run takes about {LONGEST_S:g} s at most"
        )
    pairs: list[Pair] = []
    for policy in policies:
        looks.append(look(context.clock))
        record = None if context.record is None else context.record / f"{scenario.slug()}-{policy}.jsonl"
        run = run_live(scenario, policy, profile_file, workload, context, record)
        pairs.append(paired(scenario, policy, profile, run))
    looks.append(look(context.clock))
    oracle = simulated(scenario, ORACLE, profile, workload)
    assert workload.rate_per_s is not None, "a fitted workload has a rate"
    noise = disturbances(looks, len(os.sched_getaffinity(0)))
    return Outcome(scenario, len(workload), workload.rate_per_s, drained, tuple(pairs), oracle, noise)
