"""A matrix made ready on this machine: the traces that can be had and the policies that exist.

Owns what is left out and the sentences about it. It runs nothing; `runner` takes the plan,
`command` makes it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ...core.errors import InvalidSettings
from ...scheduler.registry import POLICY_NAMES
from ...scheduler.series import parse, spread
from ...workload.source import DATA_VARIABLE
from .cell import Jobs, Run
from .scenario import ALL, Matrix, Reference, TraceSource
from .timeline import SmallRun


@dataclass(frozen=True, slots=True)
class Plan:
    """Jobs and loads and policies, all of them crossed; the small runs; and what the person should
    know.
    """

    jobs: tuple[Jobs, ...]
    loads: tuple[float, ...]
    policies: tuple[str, ...]
    small: tuple[SmallRun, ...]
    notes: tuple[str, ...]
    references: tuple[Reference, ...] = ()

    def cells(self) -> Iterator[tuple[Jobs, list[Run]]]:
        """Jobs that share a drain run, with their runs."""
        for jobs in self.jobs:
            yield jobs, [Run(jobs, load, policy) for load in self.loads for policy in self.policies]

    def __len__(self) -> int:
        return len(self.jobs) * len(self.loads) * len(self.policies) + len(self.small)


def make_plan(matrix: Matrix, data_folder: str | None) -> Plan:
    """Raises InvalidSettings when no trace or no policy of the matrix is there."""
    notes: list[str] = []
    policies = _policies(matrix, notes)
    sources = _sources(matrix, data_folder, notes)
    jobs = tuple(
        Jobs(
            trace=name,
            seed=seed,
            batch=batch,
            requests=matrix.requests,
            warmup=matrix.warmup,
            profile=matrix.profile,
            spread_s=0.0 if name.startswith("shape:") else source.spread_s,
            data_folder=data_folder,
        )
        for source, name in sources
        for seed in matrix.seeds
        for batch in matrix.batches
    )
    small = () if matrix.timeline is None else tuple(SmallRun(matrix.timeline, matrix.profile, one) for one in policies)
    return Plan(jobs, matrix.loads, policies, small, tuple(notes), matrix.references)


def _policies(matrix: Matrix, notes: list[str]) -> tuple[str, ...]:
    wanted = POLICY_NAMES if ALL in matrix.policies else matrix.policies
    wanted = tuple(dict.fromkeys(one for name in wanted for one in spread(name, matrix.tails)))
    unknown = [name for name in wanted if parse(name).policy not in POLICY_NAMES]
    if unknown:
        notes.append(f"left out, for this version has no such policy: {', '.join(unknown)}")
    known = tuple(name for name in wanted if name not in unknown)
    if not known:
        raise InvalidSettings("None of the policies exists.", field="policies", limit=f"of {', '.join(POLICY_NAMES)}")
    return known


def _sources(matrix: Matrix, data_folder: str | None, notes: list[str]) -> list[tuple[TraceSource, str]]:
    """Each trace with the name under which it is opened."""
    if data_folder is not None:
        return [(one, one.name) for one in matrix.traces]
    plain = [one for one in matrix.traces if one.name.startswith("shape:") or Path(one.name).is_file()]
    chosen = [(one, one.name) for one in plain]
    stand_ins = [one for one in matrix.traces if one not in plain and one.shape is not None]
    absent = [one.name for one in matrix.traces if one not in plain and one.shape is None]
    if stand_ins:
        names = ", ".join(f"{one.shape} for {one.name}" for one in stand_ins)
        notes.append(
            f"no data folder ({DATA_VARIABLE} or --data): shapes with Poisson arrivals stand in for traces: {names}"
        )
    if absent:
        notes.append(f"left out, for no shape stands in for them: {', '.join(absent)}")
    chosen += [(one, f"shape:{one.shape}") for one in stand_ins]
    if not chosen:
        raise InvalidSettings(
            f"None of the traces can be had: name their folder with --data or {DATA_VARIABLE}.", field="traces"
        )
    return chosen
