"""One simulation of a matrix, from names to a line of results; or of its small cell, job by job.

Owns what identifies a run, how its jobs are drawn (windows of a trace, spread arrivals), what is
kept of it, and how the turns of a small run become stretches of running a job. It is a function of
its arguments: any process gives the same line. `runner` makes the runs and sends them here; it does
not know who else runs.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from ...core.effects import Finished, Preempted, Resumed, Started, TurnEffects
from ...core.errors import SkipjoinError
from ...core.plan import Int64s
from ...cost.profiles import load_profile
from ...cost.schema import Profile
from ...sim.bounds import bounds
from ...sim.drain import drain_rate
from ...sim.study import PAGE_TOKENS, make_machine, turned
from ...sim.world import Machine, simulate
from ...workload.requests import Workload, make_workload
from ...workload.source import open_source
from ...workload.statistics import JobResults, percentile, summarize
from ...workload.trace import Trace
from .scenario import Small

NS = 1e9
QUANTILES = 200
Line = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Jobs:
    """Which jobs, on which machine: all but load and policy. `trace`: as in `simulate --trace`."""

    trace: str
    seed: int
    batch: int
    requests: int
    warmup: int
    profile: str
    spread_s: float = 0.0
    data_folder: str | None = None

    def key(self) -> Line:
        """What identifies these jobs; a folder does not, the digest of what was read does."""
        names = ("seed", "batch", "requests", "warmup")
        plain = self.trace if self.trace.startswith("shape:") else Path(self.trace).name
        named = {"trace": plain} | {name: getattr(self, name) for name in names}
        return named | {"profile": Path(self.profile).name, "inputs": prepare(self)[2]}


@dataclass(frozen=True, slots=True)
class Run:
    """The jobs at `load` times `drain_rate_per_s` under a policy, which may name its dial
    (`scheduler/series`).
    """

    jobs: Jobs
    load: float
    policy: str
    drain_rate_per_s: float = 0.0

    def key(self) -> Line:
        """What identifies the run."""
        return self.jobs.key() | {"load": self.load, "policy": self.policy}


def prepare(jobs: Jobs) -> tuple[Machine, Workload, str]:
    """The machine, the jobs without a rate, and a digest of both. Raises SkipjoinError."""
    profile, workload, digest = _drawn(replace(jobs, batch=0))
    return make_machine(profile, workload, jobs.batch), workload, digest


@lru_cache(maxsize=128)
def _drawn(jobs: Jobs) -> tuple[Profile, Workload, str]:
    """What does not depend on the batch; reading a trace takes longer than drawing from it."""
    profile = load_profile(jobs.profile)
    room = profile.kv_tokens // PAGE_TOKENS * PAGE_TOKENS
    if profile.max_context_tokens is not None:
        room = min(room, profile.max_context_tokens)
    total = jobs.warmup + jobs.requests
    source = open_source(jobs.trace, jobs.data_folder, (jobs.seed + 1) * total)
    drawn = False
    if isinstance(source, Trace):
        source, drawn = _window(source, jobs.seed, total, jobs.spread_s)
    workload = make_workload(
        source, requests=jobs.requests, warmup=jobs.warmup, seed=jobs.seed, poisson=drawn, room_tokens=room
    )
    return profile, workload, _digest(profile, workload)


def _window(trace: Trace, seed: int, total: int, spread_s: float) -> tuple[Trace, bool]:
    """Rows seed * total and on: no two seeds share one. Beyond the trace: turned rows, and True."""
    first = seed * total
    if first + total > len(trace):
        turn = -first % len(trace)
        return _rows(trace, np.roll(np.arange(len(trace)), turn), trace.arrival_ns), True
    rows = np.arange(first, first + total)
    arrival_ns = trace.arrival_ns[rows] - trace.arrival_ns[first]
    if spread_s > 0:
        arrival_ns = spread(arrival_ns, spread_s, seed)
    return _rows(trace, rows, arrival_ns), False


def _rows(trace: Trace, rows: Int64s, arrival_ns: Int64s) -> Trace:
    """What a trace says of these rows, at other arrivals."""
    return replace(
        trace,
        arrival_ns=arrival_ns,
        prompt_tokens=trace.prompt_tokens[rows],
        output_tokens=trace.output_tokens[rows],
        origins=None if trace.origins is None else trace.origins.take(rows),
    )


def spread(arrival_ns: Int64s, step_s: float, seed: int) -> Int64s:
    """Arrivals known to a step of `step_s` seconds, each somewhere in its step by seed, the first
    at 0.
    """
    later = np.random.Generator(np.random.PCG64([seed, 3])).random(len(arrival_ns)) * (step_s * NS)
    moved: Int64s = np.sort(arrival_ns + later.astype(np.int64))
    from_zero: Int64s = moved - moved[0]
    return from_zero


def _digest(profile: Profile, workload: Workload) -> str:
    digest = hashlib.sha256(repr((profile.cost, profile.kv_tokens, profile.token_bytes)).encode())
    for column in (workload.arrival_ns, workload.prompt_tokens, workload.output_tokens):
        digest.update(column.tobytes())
    if workload.origins is not None:
        digest.update(repr(workload.origins.tenants).encode())
        digest.update(workload.origins.earlier_output_tokens.tobytes())
    return digest.hexdigest()[:16]


def drain(jobs: Jobs) -> Line:
    """The drain rate of these jobs, as a line."""
    machine, workload, _ = prepare(jobs)
    try:
        rate = drain_rate(machine, workload)
    except SkipjoinError as error:
        return {"kind": "failed", "key": jobs.key(), "error": str(error)}
    return {"kind": "drain", "key": jobs.key(), "drain_rate_per_s": rate}


def measure(run: Run) -> Line:
    """The run as a line: statistics, bounds, quantiles of the JCT. An engine that breaks its word
    is a line as well.
    """
    machine, workload, _ = prepare(run.jobs)
    try:
        workload = workload.at_rate(run.load * run.drain_rate_per_s)
        machine, policy = turned(machine, run.policy)
        done = simulate(machine, policy, workload)
    except SkipjoinError as error:
        return {"kind": "failed", "key": run.key(), "error": str(error)}
    proved = bounds(machine.cost, machine.params.max_batch, machine.facts.device_pages * PAGE_TOKENS, workload)
    return {
        "kind": "run",
        "key": run.key(),
        "drain_rate_per_s": run.drain_rate_per_s,
        "virtual_s": done.virtual_ns / NS,
        "turns": done.turns,
        "bounds": {"alone": proved.alone, "work": proved.work},
        "result": asdict(summarize(run.policy, workload.refused, done.jobs)),
        "jct_s": jct_quantiles(done.jobs),
    }


def jct_quantiles(jobs: JobResults) -> list[float]:
    """`QUANTILES` nearest-rank quantiles of the JCT in seconds, evenly spaced, the last one the
    worst; six digits.
    """
    jct_s = np.sort((jobs.end_ns - jobs.arrival_ns) / NS)
    levels = (100 * (step + 1) / QUANTILES for step in range(QUANTILES))
    return [float(f"{percentile(jct_s, level):.6g}") for level in levels]


@dataclass(frozen=True, slots=True)
class SmallRun:
    """The small cell under a policy."""

    small: Small
    profile: str
    policy: str

    def key(self) -> Line:
        """What identifies the run."""
        named = {"profile": Path(self.profile).name, "policy": self.policy}
        return self.small.model_dump() | named | {"inputs": prepare(self.jobs)[2]}

    @property
    def jobs(self) -> Jobs:
        """All of them counted, none to warm up."""
        small = self.small
        return Jobs(f"shape:{small.shape}", small.seed, small.batch, small.requests, 0, self.profile)


@dataclass(slots=True)
class Stretches:
    """A watcher of turns: per job the times, in seconds, between which it was in the batch."""

    runs: dict[int, list[list[float]]] = field(default_factory=dict)

    def __call__(self, began_ns: int, turn: TurnEffects) -> None:
        """In the batch: from the turn that starts or resumes a job to that which preempts or ends
        it.
        """
        for effect in turn.effects:
            if isinstance(effect, (Started, Resumed)):
                self.runs.setdefault(int(effect.handle), []).append([began_ns / NS])
            elif isinstance(effect, (Preempted, Finished)):
                mine = self.runs.get(int(effect.handle))
                if mine and len(mine[-1]) == 1:
                    mine[-1].append((began_ns if isinstance(effect, Preempted) else turn.stats.now_ns) / NS)


def draw(run: SmallRun) -> Line:
    """The small cell under the policy as a line, times in seconds; or why it failed."""
    machine, workload, _ = prepare(run.jobs)
    watch = Stretches()
    try:
        workload = workload.at_rate(run.small.load * drain_rate(machine, workload))
        machine, policy = turned(machine, run.policy)
        done = simulate(machine, policy, workload, watch=watch).jobs
    except SkipjoinError as error:
        return {"kind": "failed", "key": run.key(), "error": str(error)}
    columns = zip(
        workload.prompt_tokens.tolist(),
        workload.output_tokens.tolist(),
        (done.arrival_ns / NS).tolist(),
        (done.first_token_ns / NS).tolist(),
        (done.end_ns / NS).tolist(),
        strict=True,
    )
    drawn: list[dict[str, Any]] = [
        asdict(JobLine(*numbers, tuple((start, end) for start, end in watch.runs[job])))
        for job, numbers in enumerate(columns)
    ]
    return {"kind": "timeline", "key": run.key(), "jobs": drawn}


@dataclass(frozen=True, slots=True)
class JobLine:
    """A job of the small cell, times in seconds."""

    prompt_tokens: int
    output_tokens: int
    arrival_s: float
    first_token_s: float
    end_s: float
    runs_s: tuple[tuple[float, float], ...]
