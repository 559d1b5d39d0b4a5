"""Which iterations of which model are measured, and what is hoped of each.

Owns the file format (TOML, checked by pydantic); the files lie in `scenarios/`, one for a CPU and one for a GPU. It knows no tensor. `study` runs
what it says.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ...core.errors import InvalidSettings
from ..scenario_file import read_scenario

FOLDER = Path(__file__).parent / "scenarios"
SHIPPED = {"cpu": "small.toml", "cuda": "llama-3-8b.toml"}
"""Device type -> the file that is measured unless another is named."""

Batch = Annotated[int, Field(ge=1, le=1024)]
Tokens = Annotated[int, Field(ge=1, le=1 << 20)]
Steps = Annotated[int, Field(ge=2, le=10_000)]
Share = Annotated[float, Field(gt=0)]


class _Part(BaseModel):
    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", frozen=True)


class _Case(_Part):
    name: Annotated[str, Field(min_length=1, max_length=40)]


class Decode(_Case):
    """`batch` jobs of `context` tokens each decode for `steps` steps. A step shall reach `least` of its roofline."""

    kind: Literal["decode"]
    batch: Batch
    context: Tokens
    steps: Steps
    least: Share | None = None


class Prefill(_Case):
    """A prompt of `tokens`, computed `chunk` tokens at a time. It shall reach `least` of its roofline."""

    kind: Literal["prefill"]
    tokens: Tokens
    chunk: Tokens
    least: Share | None = None


class Moves(_Case):
    """The same decode steps with and without KV on its way out, in and both: up to `in_flight` moves of `pages` pages each way at a time.

    A step shall take no more than `most_slower` of its time longer with moves both ways; moves one way shall reach `least_rate` of a copy.
    """

    kind: Literal["moves"]
    batch: Batch
    context: Tokens
    steps: Steps
    pages: Annotated[int, Field(ge=1, le=1 << 16)]
    in_flight: Annotated[int, Field(ge=1, le=256)]
    most_slower: Share | None = None
    least_rate: Share | None = None


class Idle(_Case):
    """The engine's own loop: `batch` jobs with prompts of `prompt` tokens decode for `iterations`, the first `warm` of which do not count.

    Between iterations the device shall have nothing to do for no more than `most` of the time.
    """

    kind: Literal["idle"]
    batch: Batch
    prompt: Tokens
    iterations: Steps
    warm: Annotated[int, Field(ge=0, le=10_000)] = 8
    most: Share | None = None

    @model_validator(mode="after")
    def _some_count(self) -> Idle:
        if self.iterations < self.warm + 2:
            raise ValueError("iterations: at least two more than `warm`")
        return self


Case = Annotated[Decode | Prefill | Moves | Idle, Field(discriminator="kind")]


class StepScenario(_Part):
    """A file of `scenarios/`. `model` is a preset, drawn in memory; bars are judged on the types of device that `bars_for` names."""

    title: str
    model: str
    dtype: str = "auto"
    bars_for: tuple[Literal["cpu", "cuda"], ...] = ("cuda",)
    cases: Annotated[tuple[Case, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _names(self) -> StepScenario:
        if len({case.name for case in self.cases}) != len(self.cases):
            raise ValueError("cases: every name once")
        return self

    def only(self, word: str | None) -> StepScenario:
        """The cases of that kind or whose name holds the word; None: all. Raises InvalidSettings when there are none."""
        if word is None:
            return self
        kept = tuple(case for case in self.cases if case.kind == word or word in case.name)
        if not kept:
            names = ", ".join(case.name for case in self.cases)
            raise InvalidSettings(f"--only {word} is none of the cases.", field="only", limit=names)
        return self.model_copy(update={"cases": kept})

    @property
    def most_jobs(self) -> int:
        """Of one batch."""
        return max((1 if isinstance(case, Prefill) else case.batch for case in self.cases), default=1)


def most_tokens(case: Decode | Prefill | Moves | Idle) -> int:
    """Prompt and output of one of its jobs, at the most; some decode steps are not timed, and two may be in flight."""
    if isinstance(case, Prefill):
        return case.tokens
    if isinstance(case, Idle):
        return case.prompt + 2 * case.iterations
    return case.context + case.steps + 2


def load_steps(path: Path) -> StepScenario:
    """Read a scenario. Raises InvalidSettings naming file and field."""
    return read_scenario(path, StepScenario)
