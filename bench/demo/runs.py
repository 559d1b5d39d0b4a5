"""Runs of the demo: a profile, jobs that fit, a server for each policy, the simulator.

Owns the order of the steps. It neither judges (`outcome` does) nor renders.
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
from ..load.loops import LoadRun, offer
from ..load.metrics_page import MetricsPage
from ..load.server import OwnServer, compute_threads
from ..load.skipjoin_target import SkipjoinTarget
from ..load.target import requests_of
from ..progress import Bar
from ..yardstick import disturbances, look
from .outcome import Outcome, Pair
from .scenario import PAGE_TOKENS, Scenario

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
