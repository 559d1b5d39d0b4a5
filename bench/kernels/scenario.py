"""Which kernels are measured on which shapes.

Owns the file format (TOML, checked by pydantic); the files lie in `shapes/`, one for a CPU and one for a GPU. It knows no tensor. `study` makes the
contests of it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ...core.errors import InvalidSettings
from ..scenario_file import read_scenario

FOLDER = Path(__file__).parent / "shapes"
SHIPPED = {"cpu": "small.toml", "cuda": "llama-3-8b.toml"}
"""Device type -> the file that is measured unless another is named."""

TUNED = "tune.toml"
"""The batches that `--tune` measures on."""

KERNELS = ("attention", "write", "norm", "gate", "staging", "move", "sampling", "linear")
FORMS = {"gate": (None, "silu", "gelu"), "norm": (None, "rms", "layer")}
OF_SEQUENCES, OF_PAGES = ("attention",), ("staging", "move")

Size = Annotated[int, Field(ge=1, le=1 << 20)]


class _Part(BaseModel):
    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", frozen=True)


class ModelShape(_Part):
    """The decoder whose kernels are measured; `pool_layers` of its `layers` are laid out, enough for a page to be as scattered as in use."""

    heads: Size
    kv_heads: Size
    head_dim: Annotated[int, Field(ge=2, le=512, multiple_of=2)]
    hidden: Size
    intermediate: Size
    vocab_size: Annotated[int, Field(ge=2, le=1 << 22)]
    layers: Annotated[int, Field(ge=1, le=1024)]
    pool_layers: Annotated[int, Field(ge=1, le=1024)] = 2
    page_tokens: Annotated[int, Field(ge=1, le=1024)] = 16

    @model_validator(mode="after")
    def _groups(self) -> ModelShape:
        if self.heads % self.kv_heads:
            raise ValueError("heads: a multiple of kv_heads")
        return self


class Sequences(_Part):
    """`count` sequences alike: the last `queries` of `context` tokens are computed; one query is a decode."""

    count: Annotated[int, Field(ge=1, le=4096)]
    queries: Size = 1
    context: Size

    @model_validator(mode="after")
    def _inside(self) -> Sequences:
        if self.queries > self.context:
            raise ValueError("queries: at most context")
        return self


class Case(_Part):
    """One line of the table: a kernel on one shape. Attention has `sequences`, moves have `pages`, all others `rows`.

    `form` of a gate (default silu) or of a norm (default rms).
    """

    name: Annotated[str, Field(min_length=1, max_length=40)]
    kernel: Literal["attention", "write", "norm", "gate", "staging", "move", "sampling", "linear"]
    sequences: tuple[Sequences, ...] = ()
    rows: Size | None = None
    pages: Size | None = None
    form: Literal["silu", "gelu", "rms", "layer"] | None = None

    @model_validator(mode="after")
    def _one_of_them(self) -> Case:
        if self.form not in FORMS.get(self.kernel, (None,)):
            raise ValueError(f"form: of a gate silu or gelu, of a norm rms or layer, of {self.kernel} not {self.form}")
        wanted = "sequences" if self.kernel in OF_SEQUENCES else "pages" if self.kernel in OF_PAGES else "rows"
        given = [name for name in ("sequences", "rows", "pages") if getattr(self, name)]
        if given != [wanted]:
            raise ValueError(f"{wanted}: {self.kernel} needs that and nothing else")
        return self


class KernelScenario(_Part):
    """A file of `shapes/`."""

    title: str
    model: ModelShape
    cases: Annotated[tuple[Case, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _names(self) -> KernelScenario:
        if len({case.name for case in self.cases}) != len(self.cases):
            raise ValueError("cases: every name once")
        return self

    def only(self, word: str | None) -> KernelScenario:
        """The cases of that kernel or whose name holds the word; None: all. Raises InvalidSettings when there are none."""
        if word is None:
            return self
        kept = tuple(case for case in self.cases if case.kernel == word or word in case.name)
        if not kept:
            names = ", ".join(case.name for case in self.cases)
            raise InvalidSettings(f"--only {word} is none of the cases.", field="only", limit=names)
        return self.model_copy(update={"cases": kept})


def load_shapes(path: Path) -> KernelScenario:
    """Read a file of shapes. Raises InvalidSettings naming file and field."""
    return read_scenario(path, KernelScenario)
