"""A scenario of the demo: which jobs, how fast, on how small a machine.

Owns the file format and how it becomes a workload and a machine for the simulator. It knows no
server; `runs` starts one with the same numbers. The files lie in `scenarios/`, their seeds with
them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import AfterValidator, Field, model_validator

from ...core.executor import ExecutorFacts
from ...cost.schema import Profile
from ...engine.params import EngineParams
from ...sim.drain import drain_rate
from ...sim.world import Machine, simulate
from ...workload.requests import Workload, make_workload
from ...workload.shape import Group, Shape, load_shape, shape_names
from ..scenario_file import ScenarioPart, read_scenario

FOLDER = Path(__file__).parent / "scenarios"
PAGE_TOKENS = 16
HOST_MEAN_JOBS = 64  # the host holds everything that could wait
TENTHS = 10
FEWEST_REQUESTS = 24
FITTED_TO = ("fcfs", "skipjoin", "adaptive")
"""Whose runs must end in time, whichever of them is asked for: a workload is the same for all."""
NS = 1e9


def _rising(bounds: tuple[int, int]) -> tuple[int, int]:
    if bounds[0] > bounds[1]:
        raise ValueError("the lower bound stands first")
    return bounds


Tokens = Annotated[int, Field(ge=1, le=1_000_000)]
Bounds = Annotated[tuple[Tokens, Tokens], AfterValidator(_rising)]


class Part(ScenarioPart):
    """Some tenths of the requests, with lengths uniform between two bounds."""

    tenths: int = Field(ge=1, le=TENTHS)
    prompt_tokens: Bounds
    output_tokens: Bounds


class Scenario(ScenarioPart):
    """One file."""

    title: str
    about: str
    model: Literal["tiny", "small"] = "small"
    seed: int = Field(ge=0, lt=2**63)
    load: float = Field(gt=0, le=10)
    max_batch: int = Field(ge=1, le=64)
    #: How many mean jobs the device's KV holds.
    kv_mean_jobs: float = Field(gt=1, le=100)
    requests: int = Field(ge=FEWEST_REQUESTS, le=10_000)
    #: The lengths: `shape`, scaled by `scale_lengths`, or `parts`.
    shape: str | None = None
    scale_lengths: float = Field(1.0, gt=0, le=10)
    parts: tuple[Part, ...] = ()
    #: Bar: mean normalised latency of skipjoin over that of fcfs.
    max_latency_ratio: float | None = Field(None, gt=0)
    #: Bar: output tokens a second, the same way; preemptions and moves must happen too.
    min_throughput_ratio: float | None = Field(None, gt=0)
    #: Bar: mean JCT of adaptive over that of fcfs.
    max_adaptive_jct_ratio: float | None = Field(None, gt=0)

    @model_validator(mode="after")
    def _lengths(self) -> Scenario:
        if (self.shape is None) == (not self.parts):
            raise ValueError("lengths: give shape or parts")
        if self.shape is not None and self.shape not in shape_names():
            raise ValueError(f"shape: one of {', '.join(shape_names())}")
        if self.parts and sum(part.tenths for part in self.parts) != TENTHS:
            raise ValueError("parts: the tenths must sum to 10")
        return self

    def slug(self) -> str:
        """The title as part of a file name."""
        return "-".join("".join(char if char.isalnum() else " " for char in self.title).split())

    def lengths(self) -> Shape:
        """The length distribution."""
        if self.shape is not None:
            return load_shape(self.shape)
        groups = tuple(
            Group(np.array(part.prompt_tokens, dtype=np.float64), np.array(part.output_tokens, dtype=np.float64))
            for part in self.parts
            for _ in range(part.tenths)
        )
        prompts = float(np.mean([group.prompt_tokens.mean() for group in groups]))
        outputs = float(np.mean([group.output_tokens.mean() for group in groups]))
        return Shape(self.title, self.about, 0, prompts, outputs, np.array([0.0, 1.0]), groups)

    def workload(self, requests: int | None = None) -> Workload:
        """The first `requests` jobs (None: all), without a rate yet."""
        return make_workload(
            self.lengths(),
            requests=self.requests if requests is None else requests,
            warmup=0,
            seed=self.seed,
            poisson=False,
            room_tokens=self.kv_pages() * PAGE_TOKENS,
            scale_lengths=self.scale_lengths,
        )

    def kv_pages(self) -> int:
        """Pages of the device pool: `kv_mean_jobs` mean jobs."""
        shape = self.lengths()
        mean = (shape.mean_prompt_tokens + shape.mean_output_tokens) * self.scale_lengths
        return max(2, round(mean * self.kv_mean_jobs / PAGE_TOKENS))

    def host_pages(self) -> int:
        """Pages of the host pool."""
        return round(self.kv_pages() * HOST_MEAN_JOBS / self.kv_mean_jobs)

    def machine(self, profile: Profile) -> Machine:
        """What the simulator stands in for: the profile with this scenario's batch and pools."""
        facts = ExecutorFacts(
            generation=1,
            device_pages=self.kv_pages(),
            host_pages=self.host_pages(),
            page_tokens=PAGE_TOKENS,
            page_bytes=PAGE_TOKENS * profile.token_bytes,
            max_context_tokens=profile.max_context_tokens,
            vocab_size=1,
        )
        return Machine(profile.cost, facts, EngineParams(max_batch=self.max_batch))

    def fitted(self, profile: Profile, longest_s: float) -> tuple[Workload, float]:
        """The workload at the scenario's load, and the drain rate, by the simulator.

        On a machine where that takes longer than `longest_s`, only the first jobs that are done in
        time.
        """
        machine = self.machine(profile)
        requests = self.requests
        while True:
            workload = self.workload(requests)
            rate = drain_rate(machine, workload)
            workload = workload.at_rate(self.load * rate)
            spans_s = [simulate(machine, policy, workload).virtual_ns / NS for policy in FITTED_TO]
            if max(spans_s) <= longest_s or requests == FEWEST_REQUESTS:
                return workload, rate
            requests = max(FEWEST_REQUESTS, int(requests * min(0.95, longest_s / max(spans_s))))


def scenario_files() -> list[Path]:
    """Those that ship, by name."""
    return sorted(FOLDER.glob("*.toml"))


def load_scenario(path: Path) -> Scenario:
    """Read a scenario. Raises InvalidSettings naming file and field."""
    return read_scenario(path, Scenario)
