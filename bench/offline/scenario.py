"""The scenario of an offline comparison: which model, how many tokens, which batches, what is hoped for.

Owns the file format (TOML, checked by pydantic) and the prompts, which follow from its seed. It knows no engine; `measure` runs it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from ..scenario_file import read_scenario

FILE = Path(__file__).parent / "engine.toml"
BEST_PEER, LINEAR = "best peer", "linear layers"
Batch = Annotated[int, Field(ge=1, le=1024)]


class Bar(BaseModel):
    """Our rate at `batch` shall be at least `least` times that of `over`: a peer, "best peer" or "linear layers"."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", frozen=True)

    batch: int
    least: float = Field(gt=0)
    over: str


class Scenario(BaseModel):
    """Equal prompts of random tokens; each repeat has its own.

    `auto`: CUDA where there is a device, and the precision that our server would choose there. `peers_needed`: without every peer that computes
    there it is not measured, unless the command says which ones.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", frozen=True)

    title: str
    about: str
    model: Literal["tiny", "small", "llama-3-8b"] = "small"
    device: Literal["auto", "cpu", "cuda"] = "cpu"
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "float32"
    peers_needed: bool = False
    threads: int = Field(ge=1, le=1024)
    prompt_tokens: int = Field(ge=2, le=100_000)
    output_tokens: int = Field(ge=2, le=100_000)
    batches: tuple[Batch, ...] = Field(min_length=1, max_length=16)
    repeats: int = Field(ge=1, le=100)
    seed: int = Field(ge=0, lt=2**31)
    bars: tuple[Bar, ...] = ()

    @model_validator(mode="after")
    def _judged(self) -> Scenario:
        if left := sorted({bar.batch for bar in self.bars} - set(self.batches)):
            raise ValueError(f"bars: batch {left[0]} is none of the batches")
        return self

    @property
    def room_tokens(self) -> int:
        """Of a request; a page more than it has, for engines that hold a step's tokens before they are done."""
        return self.prompt_tokens + self.output_tokens + 16

    def prompts(self, batch: int, repeat: int, vocabulary: int) -> list[list[int]]:
        """[batch][prompt_tokens] token ids below `vocabulary`, the same for whoever decodes them."""
        generator = np.random.Generator(np.random.PCG64([self.seed, batch, repeat + 1]))
        ids: list[list[int]] = generator.integers(0, vocabulary, (batch, self.prompt_tokens)).tolist()
        return ids


def load_scenario(path: Path) -> Scenario:
    """Read a scenario. Raises InvalidSettings naming file and field."""
    return read_scenario(path, Scenario)
