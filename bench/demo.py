"""The demo: the same jobs through a real server under one policy after the other, beside the simulator.

Owns the order of its steps: model, a profile measured just before, the jobs that this machine can do in time, a server for each policy, the
simulator's word on the same jobs. It neither judges (bench/outcome) nor renders; the command does.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from ..client import AsyncClient
from ..core.clock import Clock
from ..core.errors import InternalError, InvalidSettings
from ..cost.profiles import load_profile
from ..cost.schema import Profile
from ..serving.door.policies import LIVE_POLICIES
from ..sim.world import simulate
from ..workload.requests import Workload
from ..workload.statistics import summarize
from .live import Reporter
from .load import LiveRun, offer
from .metrics import MetricsPage
from .outcome import Pair, Shown
from .prompts import requests_of
from .scenario import PAGE_TOKENS, Scenario
from .server import OwnServer, own_command, own_environment
from .skipjoin_target import SkipjoinTarget
from .yardstick import disturbances, look

LONGEST_S = 32.0
"""The simulator's makespan that a run may have. Live ones come out a little longer; six of them, two profiles and the starts end in 5 minutes."""
PROFILE_S = 20.0
ORACLE = "srpt-oracle"
VOCABULARY = 256
COMMAND_S = 300.0
SLOW_BYTES_A_S = 10e6
"""Weights are drawn and written at more than that anywhere."""


def cache_folder() -> Path:
    """Where the demo's model stays between runs (XDG)."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "skipjoin"


def compute_threads() -> int:
    """Threads for the engine: all processors but one, which door and generator share; at most 8, the model is small."""
    return max(1, min(8, len(os.sched_getaffinity(0)) - 1))


@dataclass(frozen=True, slots=True)
class Stage:
    """Where runs take place: model folders by preset, a folder for profiles, a folder for records (None: none are kept)."""

    models: Mapping[str, Path]
    folder: Path
    record: Path | None
    clock: Clock
    reporter: Reporter


def ensure_model(preset: str, reporter: Reporter) -> Path:
    """The model folder of `preset` in the cache, made when it is missing.

    Raises InvalidInput for a preset that there is not, or a disk without room; InternalError when it cannot be made.
    """
    from ..model.presets import check_room, preset_named

    folder = cache_folder() / f"{preset}-0"
    if (folder / "config.json").is_file() and any(folder.glob("model*.safetensors")):
        return folder
    size = preset_named(preset).weight_bytes
    folder.parent.mkdir(parents=True, exist_ok=True)
    check_room(folder.parent, preset)
    reporter.note(f"making the model {preset} (random weights, {size / 2**30:.2g} GiB) in {folder}")
    # Into place in one step: an interrupted demo must not leave half a model.
    with tempfile.TemporaryDirectory(dir=folder.parent) as making:
        words = ("model", "init", str(Path(making) / preset), "--preset", preset)
        _command(*words, patience_s=COMMAND_S + size / SLOW_BYTES_A_S)
        (Path(making) / preset).rename(folder)
    return folder


def fresh_profile(model: Path, scenario: Scenario, file: Path) -> Profile:
    """Measured now, with the threads, the batch and the pools that the server will have."""
    _command(
        *("profile", "measure", "--model", str(model), "--out", str(file)),
        *engine_flags(scenario),
        *("--budget-s", f"{PROFILE_S:g}"),
    )
    return load_profile(str(file))


def engine_flags(scenario: Scenario) -> tuple[str, ...]:
    """What the measuring and the serving engine have in common."""
    return (
        *("--device", "cpu", "--dtype", "float32", "--threads", str(compute_threads())),
        *("--max-batch", str(scenario.max_batch)),
        *("--kv-tokens", str(scenario.kv_pages() * PAGE_TOKENS)),
        *("--host-kv-tokens", str(scenario.host_pages() * PAGE_TOKENS)),
    )


def _command(*words: str, patience_s: float = COMMAND_S) -> None:
    """Run `skipjoin WORDS...`; raises InternalError with its last line when it fails, and ends it on Ctrl-C."""
    done = subprocess.run(
        own_command(*words), env=own_environment(), capture_output=True, text=True, timeout=patience_s, check=False
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["it said nothing."]
        raise InternalError(f"`skipjoin {words[0]} {words[1]}` failed: {lines[-1]}")


@contextmanager
def demo_server(
    model: Path, scenario: Scenario, policy: str, profile: Path, record: Path | None
) -> Iterator[OwnServer]:
    """A real server with the scenario's pools: door and engine, durable job pool in a folder that goes with it."""
    flags = [
        *("--model", str(model), "--policy", policy, "--profile", str(profile)),
        *engine_flags(scenario),
        *(() if record is None else ("--record", str(record))),
    ]
    with tempfile.TemporaryDirectory(prefix="skipjoin-demo-") as folder, OwnServer(Path(folder), flags) as server:
        yield server


async def drive(server: OwnServer, workload: Workload, clock: Clock, reporter: Reporter) -> LiveRun:
    """Offer the workload to a server and wait for every answer."""
    metrics = None if server.http_url is None else MetricsPage(f"{server.http_url}/metrics")
    target = SkipjoinTarget(lambda: AsyncClient(server.address), clock, metrics)
    try:
        return await offer(target, workload, requests_of(workload, VOCABULARY), clock, ended=reporter.ended)
    finally:
        await target.close()


def run_live(
    scenario: Scenario, policy: str, profile_file: Path, workload: Workload, stage: Stage, record: Path | None
) -> LiveRun:
    """One policy on a server that has the profile in `profile_file`; `record`: where its engine's record goes, when it is kept."""
    stage.reporter.begin(f"{scenario.title}, {policy}", len(workload))
    try:
        with demo_server(stage.models[scenario.model], scenario, policy, profile_file, record) as server:
            return asyncio.run(drive(server, workload, stage.clock, stage.reporter))
    finally:
        stage.reporter.end()


def paired(scenario: Scenario, policy: str, profile: Profile, run: LiveRun) -> Pair:
    """A live run beside what `profile` says of the same jobs."""
    live = replace(run.results(profile.cost.alone_ns), policy=policy)
    workload = run.workload
    simulated = summarize(policy, workload.refused, simulate(scenario.machine(profile), policy, workload).jobs)
    return Pair(policy, live, simulated, tuple(run.failures), run.lag_ms[0], run.trustworthy)


def show(scenario: Scenario, policies: Sequence[str], stage: Stage) -> Shown:
    """A scenario under each policy, all with the same jobs at the same times. Raises InvalidSettings, Unavailable."""
    note = stage.reporter.note
    note(f"{scenario.title}: {scenario.about}")
    note(f"measuring what iterations cost here, about {PROFILE_S:g} s")
    profile_file = stage.folder / "profile.json"
    looks = [look(stage.clock)]
    profile = fresh_profile(stage.models[scenario.model], scenario, profile_file)
    workload, drained = scenario.fitted(profile, LONGEST_S)
    if len(workload) + workload.refused < scenario.requests:
        note(
            f"this machine gets the first {len(workload)} of {scenario.requests} jobs (seed {scenario.seed}),"
            f" so that a run takes about {LONGEST_S:g} s at most"
        )
    slug = scenario.slug()
    pairs: list[Pair] = []
    for policy in policies:
        looks.append(look(stage.clock))
        record = None if stage.record is None else stage.record / f"{slug}-{policy}.jsonl"
        pairs.append(
            paired(scenario, policy, profile, run_live(scenario, policy, profile_file, workload, stage, record))
        )
    looks.append(look(stage.clock))
    oracle = summarize(ORACLE, workload.refused, simulate(scenario.machine(profile), ORACLE, workload).jobs)
    rate = workload.rate_per_s
    assert rate is not None, "a fitted workload has a rate"
    noise = disturbances(looks, len(os.sched_getaffinity(0)))
    return Shown(scenario, len(workload), rate, drained, tuple(pairs), oracle, noise)


def check_policies(policies: Sequence[str]) -> None:
    """Raise InvalidSettings for none, or one that a server does not have."""
    for policy in policies or ("",):
        if policy not in LIVE_POLICIES:
            raise InvalidSettings(
                f"The demo cannot run policy {policy!r}.", field="policies", limit=f"of {', '.join(LIVE_POLICIES)}"
            )
