"""Which iterations of which model are measured, and what is hoped of each: the files of
`scenarios/`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from ...scenario_file import CaseName, Cases, ScenarioPart, chosen, read_scenario

FOLDER = Path(__file__).parent / "scenarios"

Batch = Annotated[int, Field(ge=1, le=1024)]
Tokens = Annotated[int, Field(ge=1, le=1 << 20)]
Steps = Annotated[int, Field(ge=2, le=10_000)]
Share = Annotated[float, Field(gt=0)]


class Decoding(ScenarioPart):
    """`batch` jobs of `context` tokens decode `steps` times."""

    name: CaseName
    batch: Batch
    context: Tokens
    steps: Steps

    @property
    def most_tokens(self) -> int:
        """Prompt and output of a job; some steps are not timed, and two may be in flight."""
        return self.context + self.steps + 2


class Decode(Decoding):
    """A step shall reach `least` of its roofline."""

    kind: Literal["decode"]
    least: Share | None = None


class Prefill(ScenarioPart):
    """A prompt of `tokens`, computed `chunk` tokens at a time. It shall reach `least` of its
    roofline.
    """

    name: CaseName
    kind: Literal["prefill"]
    tokens: Tokens
    chunk: Tokens
    least: Share | None = None

    @property
    def batch(self) -> int:
        """Of one job."""
        return 1

    @property
    def most_tokens(self) -> int:
        """The prompt."""
        return self.tokens


class Moves(Decoding):
    """The same decode steps with and without KV on its way out, in and both.

    Up to `in_flight` moves of `pages` pages go each way at a time. With moves both ways a step
    shall take no more than `most_slower` of its time longer; moves one way shall reach `least_rate`
    of a copy.
    """

    kind: Literal["moves"]
    pages: Annotated[int, Field(ge=1, le=1 << 16)]
    in_flight: Annotated[int, Field(ge=1, le=256)]
    most_slower: Share | None = None
    least_rate: Share | None = None


class Idle(ScenarioPart):
    """The engine's own loop: `batch` jobs with prompts of `prompt` tokens decode for `iterations`.

    The first `warm` do not count. Between iterations the device shall have nothing to do for no
    more than `most` of the time.
    """

    name: CaseName
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

    @property
    def most_tokens(self) -> int:
        """Enough for an engine that runs on until all is steady."""
        return self.prompt + 2 * self.iterations


Case = Annotated[Decode | Prefill | Moves | Idle, Field(discriminator="kind")]


class StepScenario(ScenarioPart):
    """`model` is a preset, drawn in memory; bars are judged on the types of device that `bars_for`
    names.
    """

    title: str
    model: str
    dtype: str = "auto"
    bars_for: tuple[Literal["cpu", "cuda"], ...] = ("cuda",)
    cases: Cases[Case]

    def only(self, word: str | None) -> StepScenario:
        """The cases of that kind or whose name holds the word; None: all. Raises InvalidSettings."""
        return self.model_copy(update={"cases": chosen(self.cases, word, lambda case: case.kind)})


def load_steps(path: Path) -> StepScenario:
    """Read a scenario. Raises InvalidSettings naming file and field."""
    return read_scenario(path, StepScenario)
