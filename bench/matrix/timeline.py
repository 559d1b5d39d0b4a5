"""One small run, job by job: when each came, ran, waited and ended.

Owns how the turns of a simulation become stretches of running a job. It knows effects and nothing
of policies; `runner` sends it the small cell of a matrix, the report draws the line that comes of
it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ...core.effects import Finished, Preempted, Resumed, Started, TurnEffects
from ...core.errors import SkipjoinError
from ...sim.drain import drain_rate
from ...sim.study import turned
from ...sim.world import simulate
from .cell import NS, Jobs, Line, prepare
from .scenario import Small


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
