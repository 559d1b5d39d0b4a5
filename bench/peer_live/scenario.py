"""The scenario of a live comparison: which model, which lengths, how many at once, how fast, what is hoped for.

Owns the file format (TOML, checked by pydantic) and the requests, which follow from its seed. It knows no server; `visit` runs it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ...serving.door.policies import LIVE_POLICIES
from ...workload.requests import Workload, make_workload
from ...workload.shape import load_shape, shape_names
from ..scenario_file import read_scenario

FOLDER = Path(__file__).parent
Load = Annotated[float, Field(gt=0, le=10)]
Ratio = Annotated[float, Field(gt=0)]
CLOSED = "closed loop"
WARM_UP, DRAIN = 1_000, 2_000
"""Added to a repeat's number for requests that are not counted, or only to find the saturation."""


class Bars(BaseModel):
    """Ours over the peer's: at most for the three latencies under open load, at least for the throughput of the closed loop."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", frozen=True)

    mean_jct: Ratio
    p99_jct: Ratio
    mean_ttft: Ratio
    closed_throughput: Ratio


@dataclass(frozen=True, slots=True)
class Cell:
    """A run within a visit: under open load `load` times the peer's saturation, or (None) the closed loop."""

    load: float | None

    @property
    def name(self) -> str:
        """As it stands in tables and files."""
        return CLOSED if self.load is None else f"load {self.load:g}"


class Scenario(BaseModel):
    """`policies`: ours, the first is the one that is judged. `context_tokens`: prompt plus output of a request at most, larger ones are left out.

    `threads` compute for ours, `peer_threads` for the peer: what each takes by itself, or the same for both.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", frozen=True)

    title: str
    about: str
    model: Literal["tiny", "small"] = "small"
    shape: str
    scale_lengths: float = Field(gt=0, le=10)
    context_tokens: int = Field(ge=16, le=1_000_000)
    slots: int = Field(ge=1, le=4096)
    kv_gib: int = Field(ge=1, le=4096)
    threads: int = Field(ge=1, le=1024)
    peer_threads: int = Field(ge=1, le=1024)
    seed: int = Field(ge=0, lt=2**31)
    loads: tuple[Load, ...] = Field(max_length=16)
    requests: int = Field(ge=8, le=1_000_000)
    clients: int = Field(ge=1, le=10_000)
    closed_requests: int = Field(ge=8, le=1_000_000)
    warmup_requests: int = Field(ge=1, le=1_000_000)
    repeats: int = Field(ge=1, le=100)
    policies: tuple[str, ...] = Field(min_length=1, max_length=8)
    bars: Bars

    @model_validator(mode="after")
    def _names(self) -> Scenario:
        if self.shape not in shape_names():
            raise ValueError(f"shape: one of {', '.join(shape_names())}")
        if unknown := [name for name in self.policies if name not in LIVE_POLICIES]:
            raise ValueError(f"policies: {unknown[0]} is none of {', '.join(LIVE_POLICIES)}")
        return self

    @property
    def cells(self) -> list[Cell]:
        """In the order they are run."""
        return [*(Cell(load) for load in self.loads), Cell(None)]

    def digest(self) -> str:
        """Of everything but the number of repeats: runs of the same can be put together."""
        told = self.model_dump_json(exclude={"repeats", "title", "about", "bars"})
        return hashlib.sha256(told.encode()).hexdigest()[:12]

    def workload(self, requests: int, number: int, cell: int = 0) -> Workload:
        """Requests without a rate yet, the same for whoever serves them; another `number` or `cell` gives others."""
        return make_workload(
            load_shape(self.shape),
            requests=requests,
            warmup=0,
            seed=self.seed * 1_000_000 + number * 100 + cell,
            poisson=False,
            room_tokens=self.context_tokens,
            scale_lengths=self.scale_lengths,
        )


def scenario_files() -> list[Path]:
    """Those that ship."""
    return sorted(FOLDER.glob("*.toml"))


def load_scenario(path: Path) -> Scenario:
    """Read a scenario. Raises InvalidSettings naming file and field."""
    return read_scenario(path, Scenario)
