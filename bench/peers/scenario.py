"""The scenarios of `bench engine` and `bench live`: which model, which requests, what is hoped for.

Owns the two file formats, the requests, which follow from a scenario's seed, and the room for KV
that makes systems alike. It knows no system. The files lie in `engine/` and `live/`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, model_validator

from ...model.config import ModelConfig
from ...serving.door.policies import LIVE_POLICIES
from ...workload.requests import Workload, make_workload
from ...workload.shape import load_shape, shape_names
from ..scenario_file import ScenarioPart

FLOAT32_BYTES = 4
PAGE_TOKENS = 16


def token_bytes(config: ModelConfig) -> int:
    """Of one token in all layers."""
    return 2 * config.layers * config.kv_heads * config.head_dim * FLOAT32_BYTES


def kv_tokens(config: ModelConfig, gib: int) -> int:
    """Tokens that so many GiB hold; whole pages."""
    return (gib << 30) // token_bytes(config) // PAGE_TOKENS * PAGE_TOKENS


def kv_gib(config: ModelConfig, tokens: int) -> int:
    """GiB that hold so many tokens, one at least."""
    return max(1, -(-tokens * token_bytes(config) >> 30))


ENGINE = Path(__file__).parent / "engine"
LIVE = Path(__file__).parent / "live"
BEST_PEER, LINEAR = "best peer", "linear layers"
CLOSED = "closed loop"
WARM_UP, DRAIN = 1_000, 2_000
"""Added to a repeat's number for requests that are not counted, or only to find the saturation."""

Batch = Annotated[int, Field(ge=1, le=1024)]
Load = Annotated[float, Field(gt=0, le=10)]
Ratio = Annotated[float, Field(gt=0)]


class Comparison(ScenarioPart):
    """What both have."""

    title: str
    about: str
    #: Threads that compute for ours.
    threads: int = Field(ge=1, le=1024)
    seed: int = Field(ge=0, lt=2**31)
    repeats: int = Field(ge=1, le=100)


class EngineBar(ScenarioPart):
    """Our rate is `least` times that of `over`: a peer, BEST_PEER or LINEAR."""

    batch: int
    least: Ratio
    over: str


class EngineScenario(Comparison):
    """Equal prompts of random tokens; each repeat has its own."""

    model: Literal["tiny", "small", "llama-3-8b"] = "small"
    #: `auto`: CUDA where there is a device, and the precision that our server would choose there.
    device: Literal["auto", "cpu", "cuda"] = "cpu"
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "float32"
    #: Not measured without every peer that computes there, unless the command says which ones.
    peers_needed: bool = False
    prompt_tokens: int = Field(ge=2, le=100_000)
    output_tokens: int = Field(ge=2, le=100_000)
    batches: tuple[Batch, ...] = Field(min_length=1, max_length=16)
    bars: tuple[EngineBar, ...] = ()

    @model_validator(mode="after")
    def _judged(self) -> EngineScenario:
        if left := sorted({bar.batch for bar in self.bars} - set(self.batches)):
            raise ValueError(f"bars: batch {left[0]} is none of the batches")
        return self

    @property
    def room_tokens(self) -> int:
        """Of a request, and a page more: some engines hold a step's tokens before they are done."""
        return self.prompt_tokens + self.output_tokens + 16

    def prompts(self, batch: int, repeat: int, vocabulary: int) -> list[list[int]]:
        """[batch][prompt_tokens] token ids below `vocabulary`, the same for every system."""
        generator = np.random.Generator(np.random.PCG64([self.seed, batch, repeat + 1]))
        ids: list[list[int]] = generator.integers(0, vocabulary, (batch, self.prompt_tokens)).tolist()
        return ids


class LiveBars(ScenarioPart):
    """Ours over the peer's: latencies at most, throughput at least."""

    mean_jct: Ratio
    p99_jct: Ratio
    mean_ttft: Ratio
    closed_throughput: Ratio


@dataclass(frozen=True, slots=True)
class Cell:
    """A run within a visit: open load times the peer's saturation; None: the closed loop."""

    load: float | None

    @property
    def name(self) -> str:
        """As it stands in tables and files."""
        return CLOSED if self.load is None else f"load {self.load:g}"


class LiveScenario(Comparison):
    """Servers behind HTTP that get the same requests."""

    model: Literal["tiny", "small"] = "small"
    shape: str
    scale_lengths: float = Field(gt=0, le=10)
    #: Prompt plus output of a request at most; larger ones are left out.
    context_tokens: int = Field(ge=16, le=1_000_000)
    slots: int = Field(ge=1, le=4096)
    kv_gib: int = Field(ge=1, le=4096)
    #: Threads that compute for the peer: what it takes by itself, or as many as ours.
    peer_threads: int = Field(ge=1, le=1024)
    loads: tuple[Load, ...] = Field(max_length=16)
    requests: int = Field(ge=8, le=1_000_000)
    clients: int = Field(ge=1, le=10_000)
    closed_requests: int = Field(ge=8, le=1_000_000)
    warmup_requests: int = Field(ge=1, le=1_000_000)
    #: Ours; the first is the one that is judged.
    policies: tuple[str, ...] = Field(min_length=1, max_length=8)
    bars: LiveBars

    @model_validator(mode="after")
    def _names(self) -> LiveScenario:
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
        """Requests without a rate yet, by seed, `number` and `cell`."""
        return make_workload(
            load_shape(self.shape),
            requests=requests,
            warmup=0,
            seed=self.seed * 1_000_000 + number * 100 + cell,
            poisson=False,
            room_tokens=self.context_tokens,
            scale_lengths=self.scale_lengths,
        )
